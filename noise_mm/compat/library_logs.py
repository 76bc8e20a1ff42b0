"""Log lines of libraries that a user of this project can't act on are not shown."""

import logging

from mmengine.logging import MMLogger

POINTLESS = (
    'may cause unexpected failure when running the built modules',  # MMEngine builds its own classes in other scopes
    'all SyncBatchNorm (SyncBN) layers in the model will be automatically reverted',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of "LocalBackend"',
)
"""Parts of MMEngine's messages about MMEngine, MMDetection and MMYOLO themselves."""


def quiet_libraries() -> None:
    """Keep the messages of `POINTLESS` off the console and out of logs."""
    if getattr(MMLogger.callHandlers, 'is_quiet', False):
        return
    call_handlers = MMLogger.callHandlers

    def quietly(logger: MMLogger, record: logging.LogRecord) -> None:
        if not any(text in record.getMessage() for text in POINTLESS):
            call_handlers(logger, record)

    quietly.is_quiet = True
    MMLogger.callHandlers = quietly
