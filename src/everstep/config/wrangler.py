"""What wrangler's files hold that has no meaning here: their keys, and programs in JavaScript. Reads no settings."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

CLOUDFLARE_ONLY = frozenset(
    {
        "$schema",
        "account_id",
        "ai",
        "alias",
        "analytics_engine_datasets",
        "assets",
        "base_dir",
        "browser",
        "build",
        "cache",
        "cloudchamber",
        "compliance_region",
        "containers",
        "d1_databases",
        "data_blobs",
        "define",
        "dev",
        "dispatch_namespaces",
        "durable_objects",
        "exports",
        "find_additional_modules",
        "first_party_worker",
        "hyperdrive",
        "images",
        "jsx_factory",
        "jsx_fragment",
        "keep_vars",
        "kv_namespaces",
        "legacy_env",
        "limits",
        "logfwdr",
        "logpush",
        "media",
        "migrations",
        "minify",
        "mtls_certificates",
        "no_bundle",
        "node_compat",
        "pages_build_output_dir",
        "pipelines",
        "placement",
        "preserve_file_names",
        "preview_urls",
        "previews",
        "python_modules",
        "queues",
        "r2_buckets",
        "ratelimits",
        "route",
        "routes",
        "rules",
        "secrets",
        "secrets_store_secrets",
        "send_email",
        "send_metrics",
        "services",
        "site",
        "streaming_tail_consumers",
        "tail_consumers",
        "text_blobs",
        "tsconfig",
        "unsafe",
        "unsafe_hello_world",
        "upload_source_maps",
        "usage_model",
        "vectorize",
        "version_metadata",
        "vpc_networks",
        "vpc_services",
        "wasm_modules",
        "worker_loaders",
        "workers_dev",
        "zone_id",
    }
)
"""Keys of the top level and of `env.<name>` that wrangler's files may have and that are passed over in silence."""

_JAVASCRIPT = frozenset({".ts", ".js", ".mjs", ".cjs", ".mts", ".cts", ".tsx", ".jsx"})


class JavaScriptMainError(ValueError):
    """`main` is a program that Python cannot run, and no Python file stands beside it."""


def python_main(main: str, root: Path) -> str:
    """Give the Python file that stands beside a `main` in JavaScript or TypeScript; any other `main` as it is.

    Raises:
        JavaScriptMainError: if there is none.
    """
    path = PurePosixPath(main)
    if path.suffix not in _JAVASCRIPT:
        return main
    beside = path.with_suffix(".py")
    if (root / beside).is_file():
        return str(beside)
    language = "TypeScript" if path.suffix in {".ts", ".mts", ".cts", ".tsx"} else "JavaScript"
    raise JavaScriptMainError(
        f"main: {main!r} is {language}, which Everstep does not run; "
        f'point main at a Python file such as "{beside}" or at a module such as "{path.stem}"'
    )
