from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="tunmesh",
    version="0.1.0",
    description="A layer-3 mesh VPN that runs as a sidecar container, on Twisted",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # twisted.plugins is a plugin directory, not a package: it must have no __init__.py.
    packages=[*find_packages(include=["tunmesh", "tunmesh.*"]), "twisted.plugins"],
    package_data={
        "tunmesh": ["py.typed"],
        "tunmesh.api.page": ["*.html", "*.css", "*.js", "*.svg"],
    },
    install_requires=[
        "twisted>=24.7",
        "pyopenssl>=24.2",
        "cryptography>=42",
        "service-identity>=24.1",
        "pyroute2>=0.9.1",
        "pyyaml>=6.0",
        "prometheus-client>=0.20",
        "pydantic>=2.10",
        "click>=8.1",
    ],
    extras_require={
        "bench": ["matplotlib>=3.8"],
        "browser": ["pillow>=10", "selenium>=4.20"],
        "fuzz": ["atheris>=3.0; sys_platform == 'linux'"],
        "test": ["hypothesis>=6.100", "jsonschema>=4.20"],
        "dev": [
            "hypothesis>=6.100",
            "jsonschema>=4.20",
            "mypy==2.4.*",
            "mypy-zope==1.0.*",
            "ruff==0.17.*",
            "types-PyYAML",
            "types-jsonschema",
        ],
    },
    entry_points={
        "console_scripts": [
            "tunmesh = tunmesh.cli.main:main",
            "generate_tun_mesh_example_config = tunmesh.cli.configs:generate_example",
            "parse_tun_mesh_config = tunmesh.cli.configs:parse",
        ]
    },
)
