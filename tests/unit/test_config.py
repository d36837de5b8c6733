"""Settings: where they come from, and errors that name the setting and the remedy."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Settings, load_settings, required
from pipeline.core.errors import ConfigError
from tests.support.clean_env import clean_env

__all__ = ["clean_env"]


def write(folder: Path, text: str, name: str = "bkdms.toml") -> Path:
    """Write a settings file."""
    path = folder / name
    path.write_text(text)
    return path


def refusal(config: Path | None = None) -> str:
    """Return the message of the error that loading gives."""
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    return str(caught.value)


def test_without_any_setting_everything_is_placed_in_the_data_folder(clean_env: Path) -> None:
    settings = load_settings()
    data_dir = clean_env / "share" / "bkdms"
    assert settings.data_dir == data_dir
    assert settings.genesis == data_dir / "chain" / "genesis.json"
    assert settings.store.url == f"sqlite:///{data_dir}/platform/store.sqlite"


def test_a_data_folder_moves_the_places_that_are_not_set(clean_env: Path) -> None:
    write(clean_env, 'data_dir = "here"\n[platform]\nkeys_dir = "/keys"\n')
    settings = load_settings()
    assert settings.site.spool == clean_env / "here" / "site" / "spool.sqlite"
    assert settings.platform.keys_dir == Path("/keys")


def test_the_environment_goes_before_the_file(clean_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(clean_env, '[kafka]\nbootstrap = "file:1"\nca = "ca.pem"\n')
    monkeypatch.setenv("BKDMS_KAFKA__BOOTSTRAP", "env:2")
    kafka = load_settings().kafka
    assert (kafka.bootstrap, kafka.ca) == ("env:2", clean_env / "ca.pem")


def test_relative_paths_start_at_the_file_not_at_the_working_folder(clean_env: Path) -> None:
    (clean_env / "etc").mkdir()
    config = write(clean_env / "etc", 'genesis = "g.json"\n[api]\nca = "~/ca.pem"\n')
    settings = load_settings(config)
    assert settings.genesis == clean_env / "etc" / "g.json"
    assert settings.api.ca == Path.home() / "ca.pem"


def test_the_file_in_the_data_folder_is_found(clean_env: Path) -> None:
    (clean_env / "share" / "bkdms").mkdir(parents=True)
    write(clean_env / "share" / "bkdms", 'topic_prefix = "city."\n')
    assert load_settings().topics.chain == "city.kpi.chain.v1"


def test_a_variable_names_the_file(clean_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKDMS_CONFIG", str(write(clean_env, 'topic_prefix = "x."\n', "other.toml")))
    assert load_settings().topic_prefix == "x."


def test_a_file_that_was_named_must_be_there(clean_env: Path) -> None:
    assert "name another with --config or BKDMS_CONFIG" in refusal(clean_env / "gone.toml")


def test_a_file_that_is_no_toml_is_named(clean_env: Path) -> None:
    assert "broken.toml is no TOML" in refusal(write(clean_env, "[kafka\n", "broken.toml"))


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(clean_env: Path) -> None:
    message = refusal(write(clean_env, '[kafka]\nboostrap = "a:1"\n'))
    assert "setting kafka.boostrap (`boostrap` under [kafka], or BKDMS_KAFKA__BOOSTRAP)" in message
    assert "did you mean kafka.bootstrap?" in message


@pytest.mark.parametrize("name", ["BKDMS_KAFAK__CA", "BKDMS_DATADIR", "BKDMS_KAFKA__CAA"])
def test_an_unknown_variable_is_refused(clean_env: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert "there is no such setting" in refusal()


def test_variables_of_other_parts_are_left_alone(clean_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BKDMS_KAFKA_HOME", "/opt/kafka")
    monkeypatch.setenv("BKDMS_POSTGRES_HOME", "/opt/postgresql")
    assert load_settings().kafka.bootstrap is None


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("[api]\nport = 99999\n", "api.port"),
        ("[api]\nport = true\n[api.x]\n", "api.x"),
        ('[site]\nsite_id = "here"\n', "site.site_id"),
        ('[site]\ncountry = "usa"\n', "site.country"),
        ('topic_prefix = "a b"\n', "topic_prefix"),
        ("data_dir = 3\n", "data_dir"),
        ("kafka = 3\n", "kafka"),
        ('[redis]\nunix_socket = "/s"\nhost = "h"\n', "redis"),
    ],
)
def test_a_wrong_value_is_named(clean_env: Path, text: str, setting: str) -> None:
    assert f"setting {setting} " in refusal(write(clean_env, text))


def test_a_missing_setting_is_named_in_both_spellings(clean_env: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        required(load_settings().kafka.bootstrap, "kafka.bootstrap")
    assert "`bootstrap` under [kafka]" in str(caught.value)
    assert "BKDMS_KAFKA__BOOTSTRAP" in str(caught.value)


def test_settings_can_not_be_changed(clean_env: Path) -> None:
    settings: Settings = load_settings()
    with pytest.raises(ValidationError):
        settings.topic_prefix = "x"
