"""Settings: defaults, files, flags, and what is refused."""

import os
import re
from pathlib import Path

import pytest
from config_file import documented_defaults

from omnimotion.config import (
    Config,
    Parser,
    add_settings,
    config_from_values,
    load_config,
    parsed_config,
)
from omnimotion.errors import ConfigError
from omnimotion.parser import MAX_CONFIG_BYTES

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(set(CONFIGS.glob("*.txt")) - set(CONFIGS.glob("raft_*.txt")))


def written(folder, text):
    path = folder / "config.txt"
    path.write_text(text, encoding="utf-8")
    return path


def parsed(*words):
    parser = Parser()
    add_settings(parser)
    return parsed_config(parser.parse_args([str(word) for word in words]))


def refusal(*words):
    with pytest.raises(ConfigError) as caught:
        parsed(*words)
    message = str(caught.value)
    assert "\n" not in message
    return message


# reading ----------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold():
    assert parsed() == Config()


def test_text_reads_back_equal(tmp_path):
    config = Config().replace(camera=False, photometric=0.125, seed=7, budget="90s", volume="mlp")
    assert load_config(written(tmp_path, config.to_text())) == config
    assert load_config(written(tmp_path, Config().to_text())) == Config()


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = written(tmp_path, "samples = 9\npairs = 5\n")
    config = parsed("--config", path, "--pairs", 6)
    assert (config.fit.samples, config.fit.pairs, config.fit.points) == (9, 6, Config().fit.points)


def test_a_switch_in_a_file_can_be_turned_either_way_on_the_command_line(tmp_path):
    for there, flag in (("true", "false"), ("false", "true")):
        path = written(tmp_path, f"camera = {there}\n")
        assert parsed("--config", path).model.camera == (there == "true")
        assert parsed("--config", path, "--camera", flag).model.camera == (flag == "true")


def test_comments_blank_lines_and_windows_line_ends(tmp_path):
    text = "# first\r\n\r\nsamples = 9   # of a ray\r\n   pairs=5\r\n"
    path = tmp_path / "config.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    config = load_config(path)
    assert (config.fit.samples, config.fit.pairs) == (9, 5)


def test_dashes_and_underscores_are_the_same_on_the_command_line():
    assert parsed("--learning-rate", "0.5") == parsed("--learning_rate", "0.5")


def test_the_environment_does_not_matter(monkeypatch):
    monkeypatch.setenv("SAMPLES", "9")
    monkeypatch.setenv("samples", "9")
    assert parsed() == Config()


# refusing ---------------------------------------------------------------------------------------


def test_an_unknown_key_is_named_with_its_line(tmp_path):
    path = written(tmp_path, "samples = 9\n\nsmaples = 8\n")
    message = refusal("--config", path)
    assert "smaples" in message
    assert "line 3" in message
    assert str(path) in message


def test_an_unknown_key_says_what_may_be_there(tmp_path):
    for line, said in (
        ("num-iters = 20", "unknown key 'num-iters': write num_iters"),
        ("smaples = 8", "configs/default.txt"),
        ("config = a.txt", "give --config on the command line"),
    ):
        assert said in refusal("--config", written(tmp_path, line + "\n"))


def test_help_speaks_of_config_files_as_they_are():
    """configargparse's own text allows sections, lists and every option."""
    parser = Parser()
    add_settings(parser)
    assert "[section]" not in parser.format_help()
    assert "goo.gl" not in parser.format_help()


def test_an_unknown_flag_is_named():
    assert "--smaples" in refusal("--smaples", "9")


def test_abbreviations_are_refused():
    assert "--sampl" in refusal("--sampl", "9")


def test_a_key_set_twice_is_named(tmp_path):
    message = refusal("--config", written(tmp_path, "samples = 9\npairs = 3\nsamples = 8\n"))
    assert "samples" in message
    assert "1 and 3" in message


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("samples = many", "samples"), ("samples = 1.5", "samples"), ("samples = 1", "samples"),
        ("samples = -3", "samples"), ("learning_rate = nan", "learning_rate"),
        ("learning_rate = inf", "learning_rate"), ("camera = maybe", "camera"),
        ("bijection = gird", "bijection"), ("device = tpu", "device"), ("budget = soon", "budget"),
        ("seed = 99999999999999999999", "seed"), ("photometric = ", "photometric"),
        ("[fit]", "[fit]"), ("include other.txt", "include"), ("config = other.txt", "config"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_by_file_line_and_name(tmp_path, line, name):
    path = written(tmp_path, f"# first\npairs = 3\n{line}\n")
    message = refusal("--config", path)
    assert message.startswith(f"config {path}, line 3: ")
    assert name in message


def test_a_bad_value_of_a_file_is_named_with_what_was_expected(tmp_path):
    for line, said in (
        ("num_iters = abc  # steps", "num_iters: invalid int value: 'abc'"),
        ("samples = 1", "samples: found 1, expected 2 to 256"),
        ("camera = maybe", "camera: found 'maybe', expected true or false"),
        ("samples = [4, 5]", "samples: invalid int value: '[4, 5]'"),
    ):
        assert refusal("--config", written(tmp_path, line)).endswith(f"line 1: {said}")
    assert "--camera: found 'x', expected true or false" in refusal("--camera", "x")
    assert parsed("--config", written(tmp_path, "budget = '90s'")).fit.budget == "90s"


def test_help_gives_the_defaults_of_values_not_of_switches():
    """--no-refine is off, though what it turns off is on."""
    parser = Parser(add_help=False)
    parser.add_argument("--count", type=int, default=3, help="how many")
    parser.add_argument("--no-refine", action="store_false", help="faster")
    said = parser.format_help()
    assert "how many (default: 3)" in said
    assert said.count("default") == 1


def test_a_value_that_begins_with_a_minus_is_shown_how_to_write():
    parser = Parser()
    for name in ("--points", "--frames", "--scale"):
        parser.add_argument(name)
    for words, said in (
        (["--points", "-1,20,3"], "write --points=-1,20,3"),
        (["--frames", "-3:", "--scale", "1mm"], "write --frames=-3:"),
        (["--frames", "3:", "--scale", "-1mm"], "write --scale=-1mm"),
    ):
        with pytest.raises(ConfigError, match=f"expected one argument: {said} "):
            parser.parse_args(words)
    for words in (["--points", "--frames", "1:"], ["--points", "--frames=1:"], ["--points"]):
        with pytest.raises(ConfigError, match=r"expected one argument \(see"):
            parser.parse_args(words)


@pytest.mark.parametrize("samples", ["0", "257", "x", ""])
def test_a_bad_flag_is_refused_by_name(samples):
    assert "samples" in refusal("--samples", samples)


def test_a_range_is_named_with_what_was_found():
    message = refusal("--samples", "257")
    assert "257" in message
    assert "256" in message


def test_a_missing_file_a_folder_a_picture_and_a_huge_file(tmp_path):
    picture, huge = tmp_path / "a.png", tmp_path / "huge.txt"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    huge.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    for path in (tmp_path / "none.txt", tmp_path, picture, huge):
        assert str(path) in refusal("--config", path)
        assert str(path) in refusal(f"--config={path}")


def test_a_pipe_is_refused_not_waited_for(tmp_path):
    """It can be read once only: checked, it would then be found empty, and no setting heeded."""
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal("--config", tmp_path / "pipe")


@pytest.mark.parametrize("values", [{"smaples": 9}, {"samples": "9"}, {"samples": True},
                                    {"camera": 1}, {"photometric": None}])  # fmt: skip
def test_values_of_a_checkpoint_are_checked_too(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        config_from_values(values)


def test_a_whole_number_may_stand_for_a_real_one():
    assert config_from_values({"photometric": 3}).loss.photometric == 3.0


# files of the project ---------------------------------------------------------------------------


def test_the_files_of_the_project():
    assert {path.name for path in FILES} >= {"default.txt", "cpu.txt", "demo.txt", "paper.txt"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_valid_and_says_what_it_is_for(path):
    load_config(path)
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_default_txt_is_what_the_code_says():
    """Regenerate it with ``make configs``."""
    found = (CONFIGS / "default.txt").read_text(encoding="utf-8")
    assert found == documented_defaults()
    assert load_config(CONFIGS / "default.txt") == Config()


def test_default_txt_has_every_key_with_a_comment():
    text = documented_defaults()
    for name in Config().values():
        assert re.search(rf"^# .+\n{name} = |^# .+\n# {name} = ", text, re.M), name


def test_paper_txt_is_the_published_network():
    config = load_config(CONFIGS / "paper.txt")
    model, fit = config.model, config.fit
    assert (model.bijection, model.volume, model.camera) == ("mlp", "mlp", False)
    assert (model.couplings, model.width, model.volume_width) == (6, 256, 512)
    assert (fit.num_iters, fit.pairs, fit.points, fit.samples) == (100_000, 8, 256, 32)
    assert fit.learning_rate == pytest.approx(1e-4)
    assert fit.learning_rate * fit.volume_rate == pytest.approx(3e-4)
    assert config.loss.per_sample == 0
    assert config.loss.smoothness * 128 == pytest.approx(20)


def test_every_setting_says_its_meaning():
    parser = Parser()
    add_settings(parser)
    for action in parser._actions:
        assert action.help, action.dest
    assert "default" in parser.format_help()
