"""The list of file names that look like secrets (.env, keys, tokens) and are not packed, and
harmless exceptions such as .env.example. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_NAMES = (
    ".env", ".env[._-]*", "*.env", "*.env.local", ".envrc",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk",
    "id_rsa[_.-]*", "id_ecdsa[_.-]*", "id_ed25519[_.-]*", "*_rsa", "*_ed25519", "deploy_key",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdb", "*.kdbx",
    ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd", ".pgpass", ".my.cnf",
    ".dockercfg", ".s3cfg", ".boto", ".vault-token",
    "secrets.toml", "secrets.yaml", "secrets.yml", "secrets.json", "secrets.ini",
    "credentials.json", "credentials.toml", "credentials.yaml", "credentials.yml",
    "application_default_credentials.json", "access_tokens.db", "credentials.db",
    "service-account*.json", "service_account*.json", "serviceaccount*.json",
    "*-service-account.json", "*_service_account.json", "*-sa-key.json", "client_secret*.json",
    "kubeconfig", "*.kubeconfig", "kaggle.json", "rclone.conf", "credentials.tfrc.json",
)  # fmt: skip
_HARMLESS = (
    ".env[._-]example", ".env[._-]sample", ".env[._-]template", ".env[._-]dist",
    "*.pub", "*.example", "*.sample",
    "*.template",
)  # fmt: skip
_FOLDERS = (
    ".ssh", ".aws", ".gnupg", ".kube", ".azure", ".kaggle", ".password-store", ".huggingface",
)  # fmt: skip
_PATHS = (
    ".docker/config.json", ".config/gcloud/*", "gcloud/legacy_credentials/*",
    "containers/auth.json",
    "huggingface/token", "huggingface/stored_tokens", ".config/gh/hosts.yml", ".cargo/credentials*",
    ".gem/credentials", ".oci/config",
)  # fmt: skip

_COPY = re.compile(r"(?:~|#|\.(?:bak|backup|old|orig|save|sw[a-p]))+$")
"""Suffixes that editors and people add to the name of a copy."""


def is_secret(path: str) -> bool:
    """Whether keys and passwords are usually stored at this path (relative, with slashes)."""
    lower = path.lower()
    *folders, last = lower.split("/")
    if any(part in _FOLDERS for part in folders):
        return True
    if (original := _COPY.sub("", last)) != last:  # `id_rsa~`, `#.env#`, `.id_rsa.swp`
        names = {original, original.removeprefix("."), original.removeprefix("#")}
        if any(is_secret("/".join((*folders, name))) for name in names):
            return True
    if any(fnmatchcase(last, pattern) for pattern in _HARMLESS):
        return False
    if any(fnmatchcase(last, pattern) for pattern in _NAMES):
        return True
    return any(fnmatchcase("/" + lower, f"*/{pattern}") for pattern in _PATHS)
