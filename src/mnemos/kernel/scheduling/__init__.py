"""The scheduler: which memories are held in a form that is quick to use, at what cost, and why."""

from mnemos.kernel.scheduling.costs import Cost, CostModel
from mnemos.kernel.scheduling.decisions import Action, Decision
from mnemos.kernel.scheduling.ledger import Tier
from mnemos.kernel.scheduling.replay import replay
from mnemos.kernel.scheduling.scenes import FORESIGHT, Foresight, SceneModel, Scenes
from mnemos.kernel.scheduling.scheduler import Scheduler

__all__ = ["FORESIGHT", "Action", "Cost", "CostModel", "Decision", "Foresight", "SceneModel", "Scenes", "Scheduler", "Tier", "replay"]
