"""After a failure: finds the first broken link and writes the bundle before the cluster changes."""

from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import ObservationError
from lab.records.model import Failure
from lab.scenario.failure.bundle import write_bundle
from lab.scenario.failure.gather import first_broken
from lab.scenario.world import World


@dataclass(frozen=True)
class Investigation:
    """Examines a lab after a failure, as `Aftermath` in lab/scenario/run/runner.py requires it.

    Each bundle is a folder NAMESPACE-STEP in `folder`.
    """

    folder: Path

    def __call__(self, world: World, step: str, failure: Failure) -> Failure:
        """Return `failure` with the first broken link, the diagnosis and the bundle's folder.

        If no link is broken, there is no diagnosis. If the bundle cannot be written, the field
        `bundle` says why. If the world has no cluster, `failure` is returned unchanged.
        """
        if world.lab is None:
            return failure
        broken = first_broken(world.cluster, world.ns)
        if broken is not None:
            failure = replace(
                failure,
                link=broken.link,
                diagnosis=broken.evidence,
                hint=failure.hint or broken.hint,
            )
        target = self.folder / f"{world.ns}-{step}"
        about = f"step {step}: {failure.what}\n{broken or 'every link of the chain holds'}"
        try:
            write_bundle(world.cluster, world.ns, target, about=about)
        except (OSError, ObservationError) as unwritable:
            return replace(failure, bundle=f"not written: {unwritable}")
        return replace(failure, bundle=str(target))
