"""Table of all configuration keys, detectron2's and those that the original adds, with default and meaning."""

from __future__ import annotations

from typing import Any

from idol_core.yacs.names import BLOCKS, RESNET, SWIN, data_source, on_resnet, on_swin, start
from idol_core.yacs.rules import Config, Field, Needs, Sets, Unread, chooses, needs, sets

_MAPS = ["res2", "res3", "res4", "res5"]
_OTHERS = "of schedules that IDOL's recipes do not use"
_SGD = "of SGD; the optimiser is AdamW"
_PROPOSALS = "there are no proposals"
_SPEED = "speed only"
_TEST_AUG = "test-time augmentation is off"


def _blocks(depth: int, config: Config) -> dict[str, Any]:
    if depth not in BLOCKS:
        raise ValueError(f"bottleneck ResNets have depth {', '.join(map(str, BLOCKS))}")
    return {"model.backbone.blocks": BLOCKS[depth]}


def _crops(config: Config) -> bool:
    return bool(config["INPUT.CROP.ENABLED"])


def _clips(config: Config) -> bool:
    return bool(config["SOLVER.CLIP_GRADIENTS.ENABLED"])


def _flip(value: str, config: Config) -> dict[str, Any]:
    """RANDOM_FLIP's settings: images of step 2 are flipped one by one, the frames of a clip together."""
    usual = "horizontal" if config["INPUT.COCO_PRETRAIN"] else "flip_by_clip"
    if value not in ("none", usual):
        raise ValueError(f"only '{usual}' or 'none' is supported in this step")
    return {"input.flip": 0.0 if value == "none" else 0.5}


def _sampling(config: Config) -> list[Any]:
    return ["choice" if config["INPUT.COCO_PRETRAIN"] else "choice_by_clip"]


# detectron2's own keys, with its defaults
DETECTRON2_FIELDS: dict[str, Field] = {
    "VERSION": needs(2, 2),
    "MODEL.LOAD_PROPOSALS": needs(False, False),
    "MODEL.MASK_ON": needs(False, True),
    "MODEL.KEYPOINT_ON": needs(False, False),
    "MODEL.DEVICE": Unread("cuda", "the device is what the machine has"),
    "MODEL.META_ARCHITECTURE": needs("GeneralizedRCNN", "IDOL"),
    "MODEL.WEIGHTS": Sets("", start),
    "MODEL.PIXEL_MEAN": sets([103.53, 116.28, 123.675], "input.pixel_mean"),
    "MODEL.PIXEL_STD": sets([1.0, 1.0, 1.0], "input.pixel_std"),
    "MODEL.BACKBONE.NAME": chooses(RESNET, "model.backbone.kind", {RESNET: "resnet", SWIN: "swin"}),
    "MODEL.BACKBONE.FREEZE_AT": sets(2, "model.backbone.freeze_at", when=on_resnet),
    "MODEL.RESNETS.DEPTH": Sets(50, _blocks, on_resnet),
    "MODEL.RESNETS.OUT_FEATURES": needs(["res4"], _MAPS, _MAPS[1:], when=on_resnet),
    "MODEL.RESNETS.NUM_GROUPS": needs(1, 1, when=on_resnet),
    "MODEL.RESNETS.NORM": needs("FrozenBN", "FrozenBN", when=on_resnet),
    "MODEL.RESNETS.WIDTH_PER_GROUP": sets(64, "model.backbone.bottleneck_channels", when=on_resnet),
    "MODEL.RESNETS.STRIDE_IN_1X1": needs(True, False, when=on_resnet),
    "MODEL.RESNETS.RES5_DILATION": needs(1, 1, when=on_resnet),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": sets(256, "model.backbone.out_channels", when=on_resnet),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": sets(64, "model.backbone.stem_channels", when=on_resnet),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": needs([False] * 4, [False] * 4, when=on_resnet),
    "MODEL.RESNETS.DEFORM_MODULATED": Unread(False, "no deformable convolutions"),
    "MODEL.RESNETS.DEFORM_NUM_GROUPS": Unread(1, "no deformable convolutions"),
    "SOLVER.LR_SCHEDULER_NAME": chooses(
        "WarmupMultiStepLR", "solver.schedule", {"WarmupMultiStepLR": "step", "WarmupCosineLR": "cosine"}
    ),
    "SOLVER.MAX_ITER": sets(40000, "solver.iterations"),
    "SOLVER.BASE_LR": sets(0.001, "solver.lr"),
    "SOLVER.BASE_LR_END": Unread(0.0, _OTHERS),
    "SOLVER.MOMENTUM": Unread(0.9, _SGD),
    "SOLVER.NESTEROV": Unread(False, _SGD),
    "SOLVER.WEIGHT_DECAY": sets(0.0001, "solver.weight_decay"),
    "SOLVER.WEIGHT_DECAY_NORM": Unread(0.0, "never read: one weight decay everywhere"),
    "SOLVER.GAMMA": sets(0.1, "solver.gamma"),
    "SOLVER.STEPS": sets([30000], "solver.milestones"),
    "SOLVER.NUM_DECAYS": Unread(3, _OTHERS),
    "SOLVER.WARMUP_FACTOR": sets(0.001, "solver.warmup_factor"),
    "SOLVER.WARMUP_ITERS": sets(1000, "solver.warmup_iterations"),
    "SOLVER.WARMUP_METHOD": needs("linear", "linear"),
    "SOLVER.RESCALE_INTERVAL": Unread(False, _OTHERS),
    "SOLVER.CHECKPOINT_PERIOD": sets(5000, "solver.checkpoint_every"),
    "SOLVER.IMS_PER_BATCH": sets(16, "solver.batch_size"),
    "SOLVER.REFERENCE_WORLD_SIZE": Unread(0, "the batch is what the recipe says on any number of processes"),
    "SOLVER.BIAS_LR_FACTOR": needs(1.0, 1.0),
    "SOLVER.WEIGHT_DECAY_BIAS": Unread(None, "never read: one weight decay everywhere"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": needs(False, True),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": needs("value", "full_model", when=_clips),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": sets(1.0, "solver.clip_norm", when=_clips),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": needs(2.0, 2.0, when=_clips),
    "SOLVER.AMP.ENABLED": chooses(False, "solver.precision", {False: "float32", True: "fp16"}),
    "INPUT.MIN_SIZE_TRAIN": sets([800], "input.short_sides"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Needs("choice", _sampling),
    "INPUT.MAX_SIZE_TRAIN": sets(1333, "input.max_size"),
    "INPUT.MIN_SIZE_TEST": sets(800, "input.test_short_side"),
    "INPUT.MAX_SIZE_TEST": sets(1333, "input.test_max_size"),
    "INPUT.RANDOM_FLIP": Sets("horizontal", _flip),
    "INPUT.CROP.ENABLED": chooses(False, "input.crop.probability", {False: 0.0, True: 0.5}),
    "INPUT.CROP.TYPE": needs("relative_range", "absolute_range", when=_crops),
    "INPUT.CROP.SIZE": sets([0.9, 0.9], "input.crop.size", when=_crops),
    "INPUT.FORMAT": needs("BGR", "RGB"),
    "INPUT.MASK_FORMAT": Unread("polygon", "polygons and run lengths are read alike"),
    "DATASETS.TRAIN": Sets([], lambda names, config: data_source(names, "train")),
    "DATASETS.PROPOSAL_FILES_TRAIN": Unread([], _PROPOSALS),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": Unread(2000, _PROPOSALS),
    "DATASETS.TEST": Sets([], lambda names, config: data_source(names, "val")),
    "DATASETS.PROPOSAL_FILES_TEST": Unread([], _PROPOSALS),
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": Unread(1000, _PROPOSALS),
    "DATALOADER.NUM_WORKERS": sets(4, "data.workers"),
    "DATALOADER.ASPECT_RATIO_GROUPING": needs(True, True),
    "DATALOADER.SAMPLER_TRAIN": needs("TrainingSampler", "TrainingSampler"),
    "DATALOADER.REPEAT_THRESHOLD": Unread(0.0, "of a sampler that IDOL's recipes do not use"),
    "DATALOADER.REPEAT_SQRT": Unread(True, "of a sampler that IDOL's recipes do not use"),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": sets(True, "data.skip_empty"),
    "TEST.EXPECTED_RESULTS": Unread([], "a self-test of the original's repository"),
    "TEST.EVAL_PERIOD": sets(0, "solver.evaluate_every"),
    "TEST.KEYPOINT_OKS_SIGMAS": Unread([], "no key points"),
    "TEST.DETECTIONS_PER_IMAGE": needs(100, 100),
    "TEST.AUG.ENABLED": needs(False, False),
    "TEST.AUG.MIN_SIZES": Unread([400, 500, 600, 700, 800, 900, 1000, 1100, 1200], _TEST_AUG),
    "TEST.AUG.MAX_SIZE": Unread(4000, _TEST_AUG),
    "TEST.AUG.FLIP": Unread(True, _TEST_AUG),
    "TEST.PRECISE_BN.ENABLED": needs(False, False),
    "TEST.PRECISE_BN.NUM_ITER": Unread(200, "precise batch norm is off"),
    "OUTPUT_DIR": Unread("./output", "a path; --runs-dir and --name say where a run goes"),
    "SEED": Sets(-1, lambda seed, config: {"solver.seed": seed} if seed >= 0 else {}),
    "CUDNN_BENCHMARK": Unread(False, _SPEED),
    "FLOAT32_PRECISION": Unread("", _SPEED),
    "VIS_PERIOD": Unread(0, "pictures of the training data"),
}

# the keys that the original adds, with its defaults
IDOL_FIELDS: dict[str, Field] = {
    "MODEL.IDOL.NUM_CLASSES": sets(80, "model.num_classes"),
    "MODEL.IDOL.MASK_WEIGHT": sets(2.0, "loss.mask"),
    "MODEL.IDOL.DICE_WEIGHT": sets(5.0, "loss.dice"),
    "MODEL.IDOL.GIOU_WEIGHT": sets(2.0, "loss.giou"),
    "MODEL.IDOL.L1_WEIGHT": sets(5.0, "loss.l1"),
    "MODEL.IDOL.CLASS_WEIGHT": sets(2.0, "loss.classification"),
    "MODEL.IDOL.REID_WEIGHT": Sets(2.0, lambda w, config: {"loss.contrastive": w, "loss.auxiliary": 1.5 * w}),
    "MODEL.IDOL.DEEP_SUPERVISION": sets(True, "loss.deep_supervision"),
    "MODEL.IDOL.MASK_STRIDE": needs(4, 4),
    "MODEL.IDOL.MATCH_STRIDE": Unread(4, "never read"),
    "MODEL.IDOL.FOCAL_ALPHA": sets(0.25, "loss.focal_alpha"),
    "MODEL.IDOL.SET_COST_CLASS": Unread(2, "never read: the assignment's costs are fixed"),
    "MODEL.IDOL.SET_COST_BOX": Unread(5, "never read: the assignment's costs are fixed"),
    "MODEL.IDOL.SET_COST_GIOU": Unread(2, "never read: the assignment's costs are fixed"),
    "MODEL.IDOL.NHEADS": sets(8, "model.heads"),
    "MODEL.IDOL.DROPOUT": sets(0.1, "model.dropout"),
    "MODEL.IDOL.DIM_FEEDFORWARD": sets(1024, "model.feedforward_dim"),
    "MODEL.IDOL.ENC_LAYERS": sets(6, "model.encoder_layers"),
    "MODEL.IDOL.DEC_LAYERS": sets(6, "model.decoder_layers"),
    "MODEL.IDOL.HIDDEN_DIM": sets(256, "model.hidden_dim"),
    "MODEL.IDOL.NUM_OBJECT_QUERIES": sets(300, "model.queries"),
    "MODEL.IDOL.DEC_N_POINTS": sets(4, "model.decoder_points"),
    "MODEL.IDOL.ENC_N_POINTS": sets(4, "model.encoder_points"),
    "MODEL.IDOL.NUM_FEATURE_LEVELS": sets(4, "model.levels"),
    "MODEL.IDOL.CLIP_STRIDE": Unread(1, "never read"),
    "MODEL.IDOL.MERGE_ON_CPU": Unread(True, "where a video's masks are kept; here they stream, frame by frame"),
    "MODEL.IDOL.MULTI_CLS_ON": sets(True, "tracker.multi_class"),
    "MODEL.IDOL.APPLY_CLS_THRES": sets(0.05, "tracker.class_score"),
    "MODEL.IDOL.TEMPORAL_SCORE_TYPE": sets("mean", "tracker.score"),
    "MODEL.IDOL.INFERENCE_SELECT_THRES": sets(0.1, "tracker.select_threshold"),
    "MODEL.IDOL.NMS_PRE": sets(0.5, "tracker.mask_nms"),
    "MODEL.IDOL.ADD_NEW_SCORE": sets(0.2, "tracker.new_threshold"),
    "MODEL.IDOL.INFERENCE_FW": sets(True, "tracker.frame_weighting"),
    "MODEL.IDOL.INFERENCE_TW": sets(True, "tracker.temporal_weighting"),
    "MODEL.IDOL.MEMORY_LEN": sets(3, "tracker.memory_length"),
    "MODEL.IDOL.BATCH_INFER_LEN": sets(10, "tracker.batch_frames"),
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": Unread(224, "of absolute position embeddings, which are off"),
    "MODEL.SWIN.PATCH_SIZE": needs(4, 4, when=on_swin),
    "MODEL.SWIN.EMBED_DIM": sets(96, "model.backbone.embed_dim", when=on_swin),
    "MODEL.SWIN.DEPTHS": sets([2, 2, 6, 2], "model.backbone.depths", when=on_swin),
    "MODEL.SWIN.NUM_HEADS": sets([3, 6, 12, 24], "model.backbone.heads", when=on_swin),
    "MODEL.SWIN.WINDOW_SIZE": sets(7, "model.backbone.window", when=on_swin),
    "MODEL.SWIN.MLP_RATIO": needs(4.0, 4.0, when=on_swin),
    "MODEL.SWIN.QKV_BIAS": needs(True, True, when=on_swin),
    "MODEL.SWIN.QK_SCALE": needs(None, None, when=on_swin),
    "MODEL.SWIN.DROP_RATE": needs(0.0, 0.0, when=on_swin),
    "MODEL.SWIN.ATTN_DROP_RATE": needs(0.0, 0.0, when=on_swin),
    "MODEL.SWIN.DROP_PATH_RATE": sets(0.3, "model.backbone.drop_path", when=on_swin),
    "MODEL.SWIN.APE": needs(False, False, when=on_swin),
    "MODEL.SWIN.PATCH_NORM": needs(True, True, when=on_swin),
    "MODEL.SWIN.OUT_FEATURES": needs(_MAPS, _MAPS, _MAPS[1:], when=on_swin),
    "MODEL.SWIN.USE_CHECKPOINT": Unread(False, "memory against speed"),
    "INPUT.SAMPLING_FRAME_NUM": needs(1, 2),
    "INPUT.SAMPLING_FRAME_RANGE": sets(10, "input.frame_range"),
    "INPUT.SAMPLING_INTERVAL": needs(1, 1),
    "INPUT.SAMPLING_FRAME_SHUFFLE": needs(False, False),
    "INPUT.AUGMENTATIONS": needs([], []),
    "INPUT.COCO_PRETRAIN": chooses(False, "step", {False: 3, True: 2}),
    "INPUT.PRETRAIN_SAME_CROP": needs(False, False),
    "SOLVER.OPTIMIZER": needs("ADAMW", "ADAMW"),
    "SOLVER.BACKBONE_MULTIPLIER": sets(0.1, "solver.backbone_lr_factor"),
    "FIND_UNUSED_PARAMETERS": Unread(True, "how processes exchange gradients"),
}
FIELDS: dict[str, Field] = DETECTRON2_FIELDS | IDOL_FIELDS

# Sections that a configuration may have for other meta architectures; they are ignored.
FOREIGN_SECTIONS = (
    "MODEL.FPN.",
    "MODEL.PROPOSAL_GENERATOR.",
    "MODEL.ANCHOR_GENERATOR.",
    "MODEL.RPN.",
    "MODEL.ROI_HEADS.",
    "MODEL.ROI_BOX_HEAD.",
    "MODEL.ROI_BOX_CASCADE_HEAD.",
    "MODEL.ROI_MASK_HEAD.",
    "MODEL.ROI_KEYPOINT_HEAD.",
    "MODEL.SEM_SEG_HEAD.",
    "MODEL.PANOPTIC_FPN.",
    "MODEL.RETINANET.",
    "GLOBAL.",
)
