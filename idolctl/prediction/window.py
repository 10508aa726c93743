"""Show frames in a window, with Python's own Tk."""

from __future__ import annotations

from typing import Any

from idol_core.errors import InvalidInput
from idol_core.video.colors import Frame

_FIX = "--serve 0, and open the address that it prints in a browser"


class Window:
    """A window that shows one frame after another; to be used from the main thread."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise InvalidInput("this Python has no Tk for windows", where="--show", fix=_FIX) from error
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise InvalidInput(f"there is no display: {error}", where="--show", fix=_FIX) from error
        self._tk = tkinter
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self.closed = False

    def show(self, frame: Frame) -> None:
        """Show a frame [H, W, 3] RGB. After the window was closed, nothing happens."""
        if self.closed:
            return
        height, width = frame.shape[:2]
        self._image = self._tk.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + frame.tobytes(), format="PPM")
        self._label.configure(image=self._image)
        self._root.update()

    def update(self) -> None:
        """Let the window react, such as to being closed, while there is no new frame."""
        if not self.closed:
            self._root.update()

    def _close(self) -> None:
        self.closed = True
        self._root.destroy()

    def close(self) -> None:
        """Close the window."""
        if not self.closed:
            self._close()
