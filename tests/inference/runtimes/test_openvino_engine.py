"""OpenVINO in a process with threads and signals."""

import subprocess
import sys

PROGRAM = """
import faulthandler, gc, signal, subprocess, sys, threading
import numpy as np, openvino, torch
from openvino import opset13 as ops
from bundle.inference.runtimes.engines import OpenVinoEngine

faulthandler.enable()  # with Python's handlers: on a stack of their own
signal.signal(signal.SIGCHLD, lambda *_: None)
frames = ops.parameter([1, 1, 8, 8], np.float32, name="frames")
openvino.save_model(openvino.Model([ops.multiply(frames, np.float32(2))], [frames]), sys.argv[1])
engines = [OpenVinoEngine(sys.argv[1], 8, num_threads=1)]
assert engines[0](torch.ones(2, 1, 8, 8)).eq(2).all()
thread = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
thread.start()
thread.join()
subprocess.run(["sleep", "0.1"], check=True)
print("alive")
"""


def test_an_engine_that_another_thread_lets_go_does_not_end_the_process_at_the_next_signal(tmp_path, bundle_root):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "double.xml")]
    ended = subprocess.run(command, cwd=bundle_root, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.strip()) == (0, "alive"), ended.stderr[-500:]
