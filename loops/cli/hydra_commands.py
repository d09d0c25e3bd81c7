"""The commands that take Hydra's overrides: train, imitate, selfplay, evaluate, pretrain."""

import sys
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf.errors import OmegaConfBaseException

from shuhari.envs.validation import EnvFault
from shuhari.loops import pretrain, train
from shuhari.loops.cli.experiments import plugin_folders
from shuhari.loops.cli.hydra_errors import explain
from shuhari.loops.cli.messages import INTERRUPTED, fail
from shuhari.loops.cli.overrides import overrides_of
from shuhari.loops.config import CONF, PretrainConfig, TrainConfig, store_types
from shuhari.loops.config_checks import ConfigError, to_object
from shuhari.loops.rank_failure import Interrupted

TAUGHT_NOTHING = 3  # exit status of a run with a phase that had nothing to learn from


class PluginExperiments(SearchPathPlugin):  # type: ignore[misc]
    """Puts the folders of plug-ins behind ours, so that none of them replaces a file of ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package, folder in plugin_folders().items():
            search_path.append(f"plug-in {package}", f"file://{folder}")


def run(command: str, arguments: list[str]) -> None:
    """Compose the configuration and run the command. A user's mistake ends it in one line."""
    store_types(ConfigStore.instance())
    Plugins.instance().register(PluginExperiments)
    config_name, schema = ("pretrain", PretrainConfig) if command == "pretrain" else ("train", TrainConfig)
    sys.argv = [f"shuhari {command}", *overrides_of(command, arguments)]

    @hydra.main(  # type: ignore[untyped-decorator]
        version_base="1.3", config_path=str(CONF), config_name=config_name
    )
    def app(cfg: Any) -> None:
        try:
            typed = to_object(cfg)
        except ConfigError as error:
            fail(str(error))
        except OmegaConfBaseException as error:  # caught here, because Hydra would add a line of its own
            fail(explain(error, schema))
        execute(command, typed)

    try:
        app()
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error, schema))
    except ValueError as error:  # Hydra's answer to experiment=null; errors of the command end in `execute`
        fail(str(error))


def execute(command: str, cfg: Any) -> None:
    """Run one command on its typed configuration."""
    try:
        if command == "pretrain":
            cfg.command = cfg.command or " ".join(sys.argv)
            pretrain.pretrain(cfg)
        elif command == "evaluate":
            train.evaluate(cfg)
        elif train.train(cfg)["failures"]:
            sys.exit(TAUGHT_NOTHING)  # the report says why, and what to do
    except Interrupted as stop:
        print(f"shuhari: {stop}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        print("shuhari: stopped at once; a run of train goes on from its last checkpoint", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except EnvFault as fault:
        fail(f"env={fault}", told=True)
    except (ValueError, OSError, FloatingPointError) as error:
        fail(str(error), told=True)
