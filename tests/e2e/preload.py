"""What the fork server of the tests imports, once."""

import idol_core.engine.failure
import idol_core.engine.stage
import idol_core.worker  # noqa: F401
