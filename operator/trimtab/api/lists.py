"""Lists whose items are told apart, so that server-side apply merges them item by item."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

LIST_TYPE = "x-kubernetes-list-type"
LIST_MAP_KEYS = "x-kubernetes-list-map-keys"


@dataclass(frozen=True, slots=True)
class Keyed:
    """Annotates a list of objects that `key` tells apart, or of scalars, where `key` is empty."""

    key: str = ""
    """The field, as users spell it."""

    def check(self, items: list[Any]) -> list[Any]:
        """Return `items`.

        Raises:
            PydanticCustomError: Two are the same; pydantic makes a ValidationError of it.
        """
        seen: set[Hashable] = set()
        for item in items:
            name = getattr(item, to_snake(self.key)) if self.key else item
            if name in seen:
                raise PydanticCustomError("duplicate", "Duplicate value: {name}", {"name": name})
            seen.add(name)
        return items

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        result = handler(schema)
        result[LIST_TYPE] = "map" if self.key else "set"
        if self.key:
            result[LIST_MAP_KEYS] = [self.key]
        return result
