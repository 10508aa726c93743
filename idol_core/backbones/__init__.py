"""Image backbones: ResNet and Swin, each giving features at strides 8, 16 and 32."""
