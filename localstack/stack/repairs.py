"""Features that the template needs and LocalStack 4.13.1 lacks; 4.14 has them, but needs a newer Python."""

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
