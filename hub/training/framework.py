"""TensorFlow, loaded when it is needed and told to be quiet, modest and repeatable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_N_THREADS = 1  # these networks are small; threads would cost more than they bring, and the hub has other work


def load_tensorflow() -> Any:
    """The module. The first call takes seconds and several hundred MB, which is why nothing imports it at the top."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels round differently from run to run
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(_N_THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(_N_THREADS)
    return tf


@contextmanager
def native_silence() -> Iterator[None]:
    """Keep what native code writes straight to file descriptor 2 out of the terminal; errors still come as exceptions."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(nowhere)
        os.close(saved)
