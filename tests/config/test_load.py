"""Finding a project and reading its settings."""

from __future__ import annotations

from textwrap import dedent

import pytest

from everstep.config import describe
from everstep.config.schema import ObservabilityConfig, WorkflowConfig

from .conftest import ProjectDirectory

TUTORIAL = """{
"$schema": "node_modules/wrangler/config-schema.json",
"name": "noqta-order-pipeline",
"main": "src/index.ts",
"compatibility_date": "2026-05-01",
"compatibility_flags": ["nodejs_compat"],
"workflows": [
{
"name": "order-pipeline",
"binding": "ORDER_PIPELINE",
"class_name": "OrderPipeline"
}
],
"observability": {
"enabled": true
}
}"""


def test_without_any_file_every_setting_has_its_default(project: ProjectDirectory) -> None:
    loaded = project.load()
    assert (loaded.root, loaded.file, loaded.env_name, loaded.warnings) == (project.root, None, None, [])
    assert loaded.config.workflows == []
    assert loaded.config.database == f"sqlite:///{project.root}/.everstep/state.db"
    assert loaded.name == "shop"
    assert loaded.sources == {}


def test_everstep_toml_is_read(project: ProjectDirectory) -> None:
    file = project.write(
        "everstep.toml",
        dedent("""\
        name = "shop"
        main = "src/index.py"
        [[workflows]]
        class_name = "OrderPipeline"
        limits = { steps = 100, concurrency = 5 }
        schedules = "0 9 * * 1"
        [workflows.default_retention]
        success_retention = "7 days"
        [vars]
        REGION = "gru"
        """),
    )
    loaded = project.load()
    workflow = loaded.config.workflows[0]
    assert loaded.file == file
    assert (workflow.name, workflow.binding) == ("order-pipeline", "ORDER_PIPELINE")
    assert (workflow.limits.steps, workflow.limits.concurrency) == (100, 5)
    assert workflow.crons == ("0 9 * * 1",)
    assert (workflow.default_retention.success_ms, workflow.default_retention.error_ms) == (604_800_000, None)
    assert loaded.config.vars == {"REGION": "gru"}
    assert loaded.config.lease_ms == 15_000


def test_pyproject_is_read_when_it_has_our_table(project: ProjectDirectory) -> None:
    project.write("pyproject.toml", '[project]\nname = "x"\n[tool.everstep]\nname = "shop"\n')
    assert project.load().config.name == "shop"


def test_the_tutorials_wrangler_jsonc_works_with_a_python_file_beside_the_typescript_one(
    project: ProjectDirectory,
) -> None:
    project.write("wrangler.jsonc", TUTORIAL)
    project.write("src/index.py", "")
    loaded = project.load()
    assert loaded.config.main == "src/index.py"
    assert loaded.config.workflows == [
        WorkflowConfig(name="order-pipeline", binding="ORDER_PIPELINE", class_name="OrderPipeline")
    ]
    assert loaded.config.observability == ObservabilityConfig(enabled=True)
    assert loaded.warnings == ["wrangler.jsonc:4: main is 'src/index.ts'; 'src/index.py' beside it is used instead"]


def test_a_typescript_main_alone_is_refused(project: ProjectDirectory) -> None:
    project.write("wrangler.jsonc", TUTORIAL)
    assert project.error() == (
        "wrangler.jsonc:4: main: 'src/index.ts' is TypeScript, which Everstep does not run; "
        'point main at a Python file such as "src/index.py" or at a module such as "index"'
    )


def test_keys_of_cloudflare_are_passed_over_and_unknown_ones_are_warned_about_in_wrangler_files(
    project: ProjectDirectory,
) -> None:
    project.write(
        "wrangler.toml",
        dedent("""\
        name = "shop"
        account_id = "abc"
        workers_dev = true
        nmae = "typo"
        [[d1_databases]]
        binding = "DB"
        [[workflows]]
        class_name = "A"
        limits = { step = 3 }
        [env.production]
        kv_namespaces = []
        vrs = { A = "b" }
        """),
    )
    assert project.load().warnings == [
        "wrangler.toml:4: unknown key 'nmae', did you mean 'name'?",
        "wrangler.toml:9: unknown key 'step' in workflows[0].limits, did you mean 'steps'?",
        "wrangler.toml:12: unknown key 'vrs' in env.production, did you mean 'vars'?",
    ]


class TestSearch:
    def test_the_nearest_directory_upward_counts(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", 'name = "outer"')
        project.write("app/everstep.toml", 'name = "inner"')
        (project.root / "app/src/deep").mkdir(parents=True)
        loaded = project.load(start="app/src/deep")
        assert (loaded.config.name, loaded.root) == ("inner", project.root / "app")

    def test_a_pyproject_without_our_table_is_skipped(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", 'name = "outer"')
        project.write("app/pyproject.toml", '[project]\nname = "inner"\ndependencies = ["everstep"]\n')
        assert project.load(start="app").config.name == "outer"

    def test_a_broken_pyproject_of_something_else_is_skipped(self, project: ProjectDirectory) -> None:
        project.write("pyproject.toml", "[project\n")
        assert project.load().file is None

    def test_a_broken_pyproject_with_our_table_is_an_error(self, project: ProjectDirectory) -> None:
        project.write("pyproject.toml", "[tool.everstep]\nname =\n")
        assert project.error().startswith("pyproject.toml:2:7: not valid TOML: Invalid value\n  2 | name =\n")

    def test_messages_call_a_file_above_by_its_relative_path(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", "nmae = 1")
        (project.root / "a/b").mkdir(parents=True)
        assert project.error(start="a/b").startswith("../../everstep.toml:1: unknown key")

    @pytest.mark.parametrize(
        ("files", "winner"),
        [
            (["everstep.toml", "wrangler.json"], "everstep.toml"),
            (["pyproject.toml", "wrangler.json"], "pyproject.toml"),
            (["wrangler.toml", "wrangler.jsonc", "wrangler.json"], "wrangler.json"),
            (["wrangler.toml", "wrangler.jsonc"], "wrangler.jsonc"),
            (["wrangler.toml"], "wrangler.toml"),
        ],
    )
    def test_files_of_one_directory_have_an_order(
        self, project: ProjectDirectory, files: list[str], winner: str
    ) -> None:
        texts = {"pyproject.toml": "[tool.everstep]", "wrangler.json": "{}", "wrangler.jsonc": "{}"}
        for name in files:
            project.write(name, texts.get(name, ""))
        loaded = project.load()
        assert loaded.file == project.root / winner
        assert loaded.warnings == []

    def test_everstep_toml_and_pyproject_together_give_a_warning_that_names_both(
        self, project: ProjectDirectory
    ) -> None:
        project.write("everstep.toml", 'name = "own"')
        project.write("pyproject.toml", '[tool.everstep]\nname = "other"')
        loaded = project.load()
        assert loaded.config.name == "own"
        assert loaded.warnings == [
            f"{project.root} has both everstep.toml and [tool.everstep] in pyproject.toml; only everstep.toml is used"
        ]


class TestOrder:
    FILE = 'database = "sqlite:///base.db"\nname = "base"\n[env.production]\ndatabase = "sqlite:///production.db"\n'

    def test_a_flag_wins_over_a_variable_over_the_environment_over_the_base(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", self.FILE)
        environ = {"EVERSTEP_DATABASE": "sqlite:///variable.db"}
        flag = "sqlite:////flag.db"

        def database(**options: object) -> tuple[str, str]:
            loaded = project.load(**options)  # type: ignore[arg-type]
            return loaded.config.database.rpartition("/")[2], loaded.sources["database"]

        assert database() == ("base.db", "everstep.toml:1")
        assert database(environment="production") == ("production.db", "everstep.toml:4 (env.production)")
        assert database(environment="production", environ=environ) == ("variable.db", "EVERSTEP_DATABASE")
        assert database(environment="production", environ=environ, database=flag) == ("flag.db", "--database")

    def test_a_flag_that_was_not_given_and_an_empty_variable_change_nothing(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", self.FILE)
        loaded = project.load(environ={"EVERSTEP_NAME": ""}, name=None)
        assert loaded.config.name == "base"

    def test_what_an_environment_leaves_out_comes_from_the_base(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", self.FILE)
        loaded = project.load("production")
        assert (loaded.config.name, loaded.env_name) == ("base", "production")

    def test_the_environment_can_be_chosen_by_variable(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", self.FILE)
        assert project.load(environ={"EVERSTEP_ENV": "production"}).env_name == "production"

    def test_every_setting_has_a_variable(self, project: ProjectDirectory) -> None:
        environ = {
            "EVERSTEP_NAME": "shop",
            "EVERSTEP_MAIN": "shop.app",
            "EVERSTEP_LEASE": "30 seconds",
            "EVERSTEP_VARS": '{"REGION": "gru"}',
            "EVERSTEP_TRIGGERS": '{"crons": ["* * * * *"]}',
            "EVERSTEP_WORKFLOWS": '[{"class_name": "OrderPipeline"}]',
        }
        config = project.load(environ=environ).config
        assert (config.name, config.main, config.lease) == ("shop", "shop.app", "30 seconds")
        assert (config.vars, config.triggers.crons) == ({"REGION": "gru"}, ["* * * * *"])
        assert config.workflows[0].name == "order-pipeline"

    def test_workflows_and_vars_are_not_inherited_and_a_warning_says_so(self, project: ProjectDirectory) -> None:
        project.write(
            "everstep.toml",
            '[vars]\nA = "1"\n[[workflows]]\nclass_name = "Order"\n[env.production]\nvars = { B = "2" }\n',
        )
        loaded = project.load("production")
        assert (loaded.config.vars, loaded.config.workflows) == ({"B": "2"}, [])
        assert loaded.warnings == [
            (
                "everstep.toml:5 (env.production): workflows is set above but not in env.production, "
                "which does not take it over; repeat it as env.production.workflows"
            )
        ]

    def test_a_setting_of_an_environment_replaces_the_base_one_as_a_whole(self, project: ProjectDirectory) -> None:
        project.write(
            "everstep.toml",
            "[observability]\nenabled = true\nhead_sampling_rate = 1\n[env.quiet.observability]\nenabled = false\n",
        )
        assert project.load("quiet").config.observability == ObservabilityConfig(enabled=False)

    def test_an_unknown_environment_is_refused_with_the_nearest_one(self, project: ProjectDirectory) -> None:
        project.write("everstep.toml", self.FILE)
        assert project.error("prodution") == (
            "there is no environment 'prodution' in everstep.toml, did you mean 'production'?"
        )
        assert project.error("dev") == "there is no environment 'dev' in everstep.toml; it has: production"

    def test_an_environment_needs_a_file(self, project: ProjectDirectory) -> None:
        assert project.error("dev") == "there is no environment 'dev', as no configuration file was found"

    def test_an_override_that_is_no_setting_is_the_callers_mistake(self, project: ProjectDirectory) -> None:
        with pytest.raises(TypeError, match="'databse', which is not a setting, did you mean 'database'"):
            project.load(databse="x")


class TestDatabase:
    @pytest.mark.parametrize(
        ("written", "resolved"),
        [
            ("sqlite:///state.db", "sqlite:///{root}/state.db"),
            ("sqlite:///./data/../state.db", "sqlite:///{root}/state.db"),
            ("sqlite:///state.db?mode=ro", "sqlite:///{root}/state.db?mode=ro"),
            ("sqlite:////var/lib/state.db", "sqlite:////var/lib/state.db"),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("sqlite://", "sqlite://"),
            ("postgresql://ada:pw@db/shop", "postgresql://ada:pw@db/shop"),
        ],
    )
    def test_relative_sqlite_paths_belong_to_the_projects_directory(
        self, project: ProjectDirectory, written: str, resolved: str
    ) -> None:
        project.write("everstep.toml", f'database = "{written}"')
        (project.root / "src").mkdir()
        assert project.load(start="src").config.database == resolved.format(root=project.root)


def test_describe_gives_each_value_with_its_source_and_masks_secrets(project: ProjectDirectory) -> None:
    project.write(
        "everstep.toml",
        dedent("""\
        name = "shop"
        [[workflows]]
        class_name = "OrderPipeline"
        schedules = ["0 9 * * 1"]
        [vars]
        REGION = "gru"
        API_KEY = "sk_123"
        LIMITS = { a = 1 }
        """),
    )
    rows = describe(project.load(environ={"EVERSTEP_DATABASE": "postgresql://ada:hunter2@db/shop?sslpassword=x"}))
    assert rows == [
        ("name", "shop", "everstep.toml:1"),
        ("main", "", "default"),
        ("workflows[0].class_name", "OrderPipeline", "everstep.toml:3"),
        ("workflows[0].name", "order-pipeline", "default"),
        ("workflows[0].binding", "ORDER_PIPELINE", "default"),
        ("workflows[0].schedules", '["0 9 * * 1"]', "everstep.toml:4"),
        ("vars.REGION", "gru", "everstep.toml:6"),
        ("vars.API_KEY", "***", "everstep.toml:7"),
        ("vars.LIMITS", '{"a": 1}', "everstep.toml:8"),
        ("database", "postgresql://ada:***@db/shop?sslpassword=***", "EVERSTEP_DATABASE"),
        ("database_direct", "", "default"),
        ("lease", "15 seconds", "default"),
        ("engine.max_running", "10000", "default"),
        ("engine.max_cached", "1000", "default"),
        ("engine.max_creating", "1000", "default"),
        ("engine.max_threads", "64", "default"),
        ("engine.max_lost_threads", "256", "default"),
        ("compatibility_date", "", "default"),
        ("compatibility_flags", "", "default"),
    ]
