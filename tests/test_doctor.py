"""The doctor says what is wrong, in one screen, and never falls ill itself."""

import hashlib
import importlib
import json
import os
import sys
import types

import pytest

from omnimotion import doctor


@pytest.fixture
def without(monkeypatch):
    """Make the import of a module raise an error."""
    real = importlib.import_module

    def breaks(name, error):
        def import_module(wanted, *args):
            if wanted == name:
                raise error
            return real(wanted, *args)

        monkeypatch.setattr(doctor.importlib, "import_module", import_module)

    return breaks


def test_the_report_fits_one_screen_and_is_json(tmp_path):
    findings = doctor.report(tmp_path)
    assert json.loads(json.dumps(findings)) == findings
    assert {finding["status"] for finding in findings.values()} <= {"ok", "note", "fail"}
    text = doctor.format_report(findings)
    assert len(text.splitlines()) <= 24
    assert all(name in text for name in findings)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_this_machine_passes_where_the_tests_run(tmp_path):
    findings = doctor.report(tmp_path)
    for name in ("python", "packages", "opencv", "torchvision", "codecs"):
        assert findings[name]["status"] == "ok", findings[name]


def test_the_verdict_names_what_failed():
    findings = {"a": {"status": "ok", "detail": "x"}, "b": {"status": "note", "detail": "y"}}
    assert doctor.is_ready(findings)
    assert doctor.format_report(findings).splitlines()[-1] == "ready"
    findings["codecs"] = {"status": "fail", "detail": "no encoder"}
    assert not doctor.is_ready(findings)
    assert doctor.format_report(findings).splitlines()[-1] == "not ready: see codecs"


def test_mismatched_torchvision_is_a_failure_with_its_reason(without, tmp_path):
    without("torchvision", RuntimeError("operator torchvision::nms does not exist"))
    finding = doctor.report(tmp_path)["torchvision"]
    assert finding["status"] == "fail"
    assert "nms does not exist" in finding["detail"]


def test_missing_torch_does_not_stop_the_report(without, tmp_path):
    without("torch", ModuleNotFoundError("No module named 'torch'"))
    findings = doctor.report(tmp_path)
    assert findings["device"]["status"] == "fail"
    assert findings["disk"]["status"] == "ok"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'tinycudann'"), "not installed"),
        (OSError("Unknown compute capability. Ensure PyTorch with CUDA"), "Unknown compute"),
    ],
)
def test_tinycudann_is_optional_whatever_it_raises(without, tmp_path, error, words):
    without("tinycudann", error)
    finding = doctor.report(tmp_path)["tinycudann"]
    assert finding["status"] == "note"
    assert words in finding["detail"]


def test_numba_is_optional(without, tmp_path):
    assert doctor.report(tmp_path)["numba"]["status"] == "ok"
    without("omnimotion.kernels.couplings", RuntimeError("cannot cache function"))
    finding = doctor.report(tmp_path)["numba"]
    assert finding["status"] == "note"
    assert "cannot cache function" in finding["detail"]


def test_tinycudann_that_imports_is_reported(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tinycudann", types.ModuleType("tinycudann"))
    assert doctor.report(tmp_path)["tinycudann"]["status"] == "ok"


def test_raft_weights_are_checked_against_the_hash_in_their_name(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert doctor.report(tmp_path)["RAFT weights"]["status"] == "note"
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = f"raft_large_C_T_V2-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    (folder / name).write_bytes(b"weights")
    assert doctor.report(tmp_path)["RAFT weights"] == {
        "status": "ok",
        "detail": f"{name} (intact)",
    }
    (folder / name).write_bytes(b"<html>not found</html>")
    finding = doctor.report(tmp_path)["RAFT weights"]
    assert finding["status"] == "fail"
    assert "damaged" in finding["detail"]


def test_a_folder_that_cannot_be_written_is_a_failure(monkeypatch, tmp_path):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = doctor.report(tmp_path)["disk"]
    assert finding == {
        "status": "fail",
        "detail": f"cannot write in {tmp_path} (Permission denied)",
    }


def test_a_folder_that_is_not_there_is_a_failure_not_a_crash(tmp_path):
    assert doctor.report(tmp_path / "nowhere")["disk"]["status"] == "fail"
    assert not os.path.exists(tmp_path / "nowhere")
