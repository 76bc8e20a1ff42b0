import logging

from mmengine.logging import MMLogger, print_log

from noise_mm.compat.library_logs import quiet_libraries


def test_messages_that_nobody_can_act_on_are_not_shown(capsys):
    quiet_libraries()
    quiet_libraries()  # once is enough, twice does no harm
    logger = MMLogger.get_instance('test_library_logs')
    shown = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())
    logger.addHandler(handler)
    print_log('This may cause unexpected failure when running the built modules.', logger, logging.WARNING)
    print_log('The loss is high.', logger, logging.WARNING)
    assert shown == ['The loss is high.']
