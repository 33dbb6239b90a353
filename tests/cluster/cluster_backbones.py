"""Backbones whose features tell which process or device made them, or that cannot be loaded."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from basket.errors import WeightsError
from basket.extract.backbones.base import BackboneSpec, FrameGeometry


class TellsProcess:
    spec = BackboneSpec(
        family="tells-process",
        name="tells-process",
        frames=2,
        geometry=FrameGeometry(8, 8, crop="squash"),
        streams={"pooled": 1},
    )

    def __init__(self, checkpoint=None, **_options):
        pass

    def embed(self, clips):
        return {"pooled": np.full((len(clips), 1), os.getpid(), np.float32)}


class Constant(TellsProcess):
    spec = replace(TellsProcess.spec, family="constant", name="constant")

    def embed(self, clips):
        return {"pooled": np.ones((len(clips), 1), np.float32)}


class TellsDevice(TellsProcess):
    """Stands for a network on a GPU: each row is the number of the device, and the process."""

    spec = replace(
        TellsProcess.spec,
        family="tells-device",
        name="tells-device",
        streams={"pooled": 2},
        weights_sha256="0" * 64,
    )

    def __init__(self, checkpoint=None, *, device="cpu", **_options):
        self._number = int(device.removeprefix("cuda:"))

    def embed(self, clips):
        return {"pooled": np.tile(np.float32([self._number, os.getpid()]), (len(clips), 1))}


class DiffersByDevice(TellsDevice):
    """Somebody changed the weights between one load and the next."""

    def __init__(self, checkpoint=None, *, device="cpu", **_options):
        super().__init__(device=device)
        self.spec = replace(TellsDevice.spec, weights_sha256=f"{self._number:064}")


class TwoUnderWay(TellsProcess):
    """Stands for a device that computes: a batch is done when the next one has been handed over.

    A row tells whether that came to pass within 20 seconds, before the batch was waited for.
    """

    spec = replace(TellsProcess.spec, family="two-under-way", name="two-under-way")

    def __init__(self, checkpoint=None, **_options):
        self._begun = 0
        self._alone = threading.Lock()
        self._second = threading.Event()

    def begin(self, clips):
        assert self._alone.acquire(blocking=False), "handed two batches by two threads at once"
        time.sleep(0.05)
        self._begun += 1
        if self._begun == 2:
            self._second.set()
        self._alone.release()
        return SimpleNamespace(result=lambda: self._wait(len(clips)))

    def _wait(self, count):
        overlapped = self._second.wait(20)
        return {"pooled": np.full((count, 1), overlapped, np.float32)}

    def embed(self, clips):
        return self.begin(clips).result()


class ComputesInThreads(TellsProcess):
    """Brings a thread pool of its own, as ``torch.compile`` does at the first batch."""

    def embed(self, clips):
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(super().embed, clips).result()


class FailsToEmbed(TellsProcess):
    def embed(self, clips):
        raise ValueError(f"{len(clips)} clips of a kind that it does not know")


class DiesLoading:
    def __init__(self, checkpoint=None, **_options):
        os._exit(3)


class HasNoWeights:
    def __init__(self, checkpoint=None, *, device="cpu", **_options):
        if device == os.environ.get("BASKET_TEST_SLOW"):
            time.sleep(0.5)
        raise WeightsError("weights are needed and there are none")
