"""The token endpoint's grants, one module each; `token_endpoint` has them all."""
