"""What the stack needs and LocalStack 4.13.1 lacks. 4.14 knows such templates, but needs a newer Python."""

from threading import get_ident

from botocore.config import Config
from localstack.aws.api import RequestContext
from localstack.aws.api.sqs import ReceiveMessageResult
from localstack.services.cloudformation.engine.v2.change_set_model import (
    ChangeSetEntity,
    ChangeSetModel,
    ChangeType,
    NodeParameter,
    parent_change_type_of,
)
from localstack.services.cloudformation.engine.v2.change_set_model_preproc import (
    ChangeSetModelPreproc,
    PreprocEntityDelta,
)
from localstack.services.sqs.models import MessageGroup, SqsMessage, SqsQueue
from localstack.services.sqs.provider import SqsProvider
from localstack.services.sqs.queue import InterruptiblePriorityQueue

from stack.settings import PATIENCE_SECS


def find_in_map_by_parameter() -> None:
    """Lets a stack be updated whose template looks up a mapping by a parameter.

    https://github.com/localstack/localstack/pull/13678
    """
    by_literal = ChangeSetModel._resolve_intrinsic_function_fn_find_in_map

    def resolve(model: ChangeSetModel, arguments: ChangeSetEntity) -> ChangeType:
        try:
            return by_literal(model, arguments)
        except NotImplementedError:
            mapping = model._retrieve_mapping(mapping_name=arguments.array[0].value)
            return parent_change_type_of([arguments, mapping])

    ChangeSetModel._resolve_intrinsic_function_fn_find_in_map = resolve


def lists_of_deployed_parameters() -> None:
    """Lets a stack be deleted whose template has a list as its parameter: there it is still text."""
    as_text = ChangeSetModelPreproc.visit_node_parameter

    def visit(model: ChangeSetModelPreproc, parameter: NodeParameter) -> PreprocEntityDelta:
        delta, kind = as_text(model, parameter), model.visit(parameter.type_)
        if isinstance(delta.before, str) and "CommaDelimitedList" in (kind.before, kind.after):
            delta.before = delta.before.split(",")
        return delta

    ChangeSetModelPreproc.visit_node_parameter = visit


def answers_of_a_busy_machine() -> None:
    """Lets LocalStack wait for its own answers.

    After 60 s its clients would send a request again that takes effect all the same. A stack then fails
    because its function exists already.
    """
    Config.OPTION_DEFAULTS["read_timeout"] = PATIENCE_SECS


def messages_that_are_being_received() -> None:
    """Counts a message as in flight from the moment it is taken from its queue, as SQS does.

    LocalStack counts it when its batch is complete, up to the batching window later, and a dead letter when
    it has arrived. Until then the queue looks empty, so nobody can wait until its messages are settled.
    """
    receive, attributes = SqsProvider.receive_message, SqsQueue.get_queue_attributes
    take, take_of_group = InterruptiblePriorityQueue._get, MessageGroup.pop
    receiving: dict[int, tuple[SqsQueue, list[SqsMessage]]] = {}  # by thread

    def noted(message: SqsMessage) -> SqsMessage:
        _, taken = receiving.get(get_ident(), (None, []))
        taken.append(message)
        return message

    def receive_message(
        provider: SqsProvider, context: RequestContext, queue_url: str, **options: object
    ) -> ReceiveMessageResult:
        receiving[get_ident()] = (provider._resolve_queue(context, queue_url=queue_url), [])
        try:
            return receive(provider, context, queue_url, **options)
        finally:
            del receiving[get_ident()]

    def not_visible(queue: SqsQueue) -> int:
        taken = [messages for of, messages in list(receiving.values()) if of is queue]
        return len(set(queue.inflight.copy()).union(*taken))

    def get_queue_attributes(queue: SqsQueue, attribute_names: list[str] | None = None) -> dict[str, str]:
        """What is visible is counted first, so that a message counts wherever it moves meanwhile."""
        with queue.mutex:
            return attributes(queue, sorted(attribute_names or []))

    InterruptiblePriorityQueue._get = lambda queue: noted(take(queue))
    MessageGroup.pop = lambda group: noted(take_of_group(group))
    SqsProvider.receive_message = receive_message
    SqsQueue.approximate_number_of_messages_not_visible = property(not_visible)
    SqsQueue.get_queue_attributes = get_queue_attributes
