"""The files of deploy/ agree with each other and with the programs that read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from feed_assets_tests.support.dagster.deployed import DEPLOY, SERVICES, instructions
from feed_assets_tests.support.project_copy import PROJECT

INSTANCE = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
VALUES_TEXT = (DEPLOY / "kubernetes/values.yaml").read_text()
VALUES = yaml.safe_load(VALUES_TEXT)
OF_DAGSTER = ("migrate", "code", "webserver", "daemon")
MEASURED_MB = 281
"""Memory of an import beside Python and Dagster: bench/README.md, peak anonymous."""

POD = {"image", "resources", "podSecurityContext", "envConfigMaps", "envSecrets"}
CHART = {
    "": {
        *("global", "postgresql", "generatePostgresqlPasswordSecret", "runLauncher", "concurrency"),
        *("dagster-user-deployments", "dagsterWebserver", "dagsterDaemon", "retention"),
        *("telemetry", "extraManifests"),
    },
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName"},
    "postgresql": {
        *("enabled", "postgresqlScheme", "postgresqlHost", "postgresqlUsername"),
        *("postgresqlPassword", "postgresqlDatabase", "postgresqlParams", "service", "image"),
    },
    "runLauncher": {"type", "config"},
    "runLauncher.config": {"k8sRunLauncher"},
    "runLauncher.config.k8sRunLauncher": {
        *("image", "imagePullPolicy", "jobNamespace", "envConfigMaps", "envSecrets", "envVars"),
        *("volumeMounts", "volumes", "labels", "resources", "securityContext", "runK8sConfig"),
    },
    "runLauncher.config.k8sRunLauncher.runK8sConfig": {
        *("containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig"),
    },
    "concurrency": {"enabled", "pools", "runs"},
    "concurrency.pools": {"defaultLimit", "granularity", "opGranularityRunBuffer"},
    "concurrency.runs": {"maxConcurrentRuns", "tagConcurrencyLimits"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "deployments", "imagePullSecrets"},
    "dagster-user-deployments.deployments": {
        *("name", "port", "dagsterApiGrpcArgs", "includeConfigInLaunchedRuns", *POD),
    },
    "dagsterWebserver": {"replicaCount", "service", "pathPrefix", "workspace", *POD},
    "dagsterWebserver.service": {"type", "port", "annotations"},
    "dagsterDaemon": {"enabled", "runCoordinator", "runMonitoring", "runRetries", *POD},
    "dagsterDaemon.runRetries": {"enabled", "maxRetries", "retryOnAssetOrOpFailure"},
    "dagsterDaemon.runMonitoring": {
        *("enabled", "startTimeoutSeconds", "cancelTimeoutSeconds", "maxResumeRunAttempts"),
        *("pollIntervalSeconds", "freeSlotsAfterRunEndSeconds"),
    },
    "retention": {"enabled", "schedule", "sensor", "autoMaterialize"},
    "telemetry": {"enabled"},
}
"""Values of the chart that one might set:
https://github.com/dagster-io/dagster/tree/master/helm/dagster/schema/schema/charts"""


def environment_of(config: Any) -> Iterator[str]:
    """The environment variables that an instance's configuration names."""
    if isinstance(config, dict):
        if set(config) == {"env"}:
            yield config["env"]
        for value in config.values():
            yield from environment_of(value)


@pytest.mark.parametrize("service", OF_DAGSTER)
def test_a_service_gets_exactly_the_variables_that_the_instance_reads(service: str) -> None:
    more = {"FEED_ASSETS_WAREHOUSE"} if service == "code" else set()
    assert set(SERVICES[service]["environment"]) == set(environment_of(INSTANCE)) | more


def test_only_the_code_location_is_given_the_feeds_secrets() -> None:
    assert [name for name in OF_DAGSTER if "env_file" in SERVICES[name]] == ["code"]
    ignored = (PROJECT / ".gitignore").read_text().split()
    assert SERVICES["code"]["env_file"] == [".env"]
    assert ".env" in ignored


def test_the_example_environment_has_all_variables_of_the_compose_file() -> None:
    example = (DEPLOY / "env.example").read_text()
    given = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "docker-compose.yaml").read_text()))
    assert asked
    assert asked <= given


def test_the_builder_gets_all_files_of_the_image() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    allowed = [pattern[1:] for pattern in ignore if pattern.startswith("!")]
    copied = {
        source
        for _, word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert ignore[0] == "*"
    assert copied == set(allowed)
    assert all((PROJECT / source).exists() for source in copied)
    assert not any(fnmatch("deploy/.env", pattern) for pattern in allowed)


def test_the_image_runs_the_code_server_as_a_user_other_than_root() -> None:
    words = [(word, rest) for _, word, rest in instructions()]
    assert ("USER", "10001") in words
    assert [rest.split()[0] for word, rest in words if word == "FROM"] == ["python:${PYTHON}"] * 2
    (command,) = [rest for word, rest in words if word == "CMD"]
    assert yaml.safe_load(command) == SERVICES["code"]["command"]


def test_all_parts_use_one_version_of_dagster() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^(dagster[\w-]*)==(\S+)", lock, re.MULTILINE))
    assert f"--version {pinned['dagster']} " in VALUES_TEXT
    assert pinned["dagster-webserver"] == pinned["dagster"]
    assert pinned["dagster-postgres"] == pinned["dagster-k8s"] == pinned["dagster-gcp"]


def test_files_versions_and_accounts_of_the_page_exist() -> None:
    page = (PROJECT / "docs/production.md").read_text()
    for path in set(re.findall(r"deploy/[\w./-]*\w", page)) - {"deploy/.env"}:
        assert (PROJECT / path).exists(), path
    (chart,) = re.findall(r"--version (\S+)", VALUES_TEXT)
    assert set(re.findall(r"--version (\S+)", page)) == {chart}
    limit = INSTANCE["concurrency"]["runs"]["max_concurrent_runs"]
    assert f"`max_concurrent_runs: {limit}`" in page
    pod = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    assert f"my-project.svc.id.goog[dagster/{pod['serviceAccountName']}]" in page


@pytest.mark.parametrize("path", CHART)
def test_the_chart_accepts_each_value(path: str) -> None:
    found = VALUES
    for name in filter(None, path.split(".")):
        found = found[name]
    (found,) = found if isinstance(found, list) else [found]
    assert set(found) <= CHART[path]


def test_the_cluster_has_the_same_limits_and_retries_as_a_single_machine() -> None:
    pools, queue = INSTANCE["concurrency"]["pools"], VALUES["concurrency"]["pools"]
    assert (queue["defaultLimit"], queue["granularity"]) == (1, "run")
    assert pools == {"default_limit": 1, "granularity": "run"}
    retries, daemon = INSTANCE["run_retries"], VALUES["dagsterDaemon"]
    assert daemon["runRetries"] == {
        "enabled": retries["enabled"],
        "maxRetries": retries["max_retries"],
        "retryOnAssetOrOpFailure": retries["retry_on_asset_or_op_failure"],
    }
    assert INSTANCE["run_monitoring"]["enabled"]
    assert daemon["runMonitoring"]["enabled"]
    names = {"schedule": "schedule", "sensor": "sensor", "autoMaterialize": "auto_materialize"}
    assert {name: VALUES["retention"][name]["purgeAfterDays"] for name in names} == {
        name: INSTANCE["retention"][ours]["purge_after_days"] for name, ours in names.items()
    }
    assert (
        VALUES["postgresql"]["postgresqlScheme"]
        == INSTANCE["storage"]["postgres"]["postgres_db"]["scheme"]
    )


def test_a_run_is_a_pod_with_its_own_account_and_disk_space_for_the_feed() -> None:
    from dagster_k8s.container_context import K8sContainerContext  # late: half a second
    from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    ours = launcher["runK8sConfig"]
    context = K8sContainerContext.create_from_config(
        {
            "k8s": {  # as the chart writes it into dagster.yaml
                "env_config_maps": [each["name"] for each in launcher["envConfigMaps"]],
                "env_secrets": [each["name"] for each in launcher["envSecrets"]],
                "image_pull_policy": launcher["imagePullPolicy"],
                "service_account_name": "dagster",
                "run_k8s_config": {
                    "container_config": ours["containerConfig"],
                    "pod_spec_config": ours["podSpecConfig"],
                    "job_spec_config": ours["jobSpecConfig"],
                },
            }
        }
    )
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="feed_assets",
            dagster_home="/opt/dagster/dagster_home",
            postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
        ),
        args=["dagster", "api", "execute_run"],
        job_name="a-run",
        user_defined_k8s_config=context.run_k8s_config,
    )

    pod = job.spec.template.spec
    (container,) = pod.containers
    assert pod.service_account_name == "feed-assets-runs"
    assert pod.automount_service_account_token is False
    kinds = {manifest["kind"]: manifest for manifest in VALUES["extraManifests"]}
    assert kinds["ServiceAccount"]["metadata"]["name"] == pod.service_account_name
    assert [each.config_map_ref and each.config_map_ref.name for each in container.env_from] == [
        kinds["ConfigMap"]["metadata"]["name"],
        None,
    ]
    assert int(container.resources.requests["memory"].removesuffix("Mi")) >= 2 * MEASURED_MB
    assert container.volume_mounts[0].mount_path == "/tmp"
    assert pod.volumes[0].empty_dir.medium is None  # a disk, as memory would be counted
