"""The custom resources: pydantic models that are the single source of the CRDs."""
