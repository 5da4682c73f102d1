"""The Cancel button."""


class InterruptProcessingException(BaseException):
    """What ComfyUI raises after Cancel."""


cancelled = False


def throw_exception_if_processing_interrupted() -> None:
    global cancelled
    if cancelled:
        cancelled = False
        raise InterruptProcessingException
