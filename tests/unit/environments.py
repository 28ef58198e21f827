"""Python environments for tests: what pip leaves of a release."""


def installed(folder, version):
    """Make what pip leaves of fractal-server in an environment; return its site-packages."""
    packages = folder / "lib/python3.11/site-packages"
    info = packages / f"fractal_server-{version}.dist-info"
    info.mkdir(parents=True)
    if not (folder / "lib64").exists():
        (folder / "lib64").symlink_to("lib")
    (packages / "fractal_server").mkdir()
    (packages / "fractal_server" / "main.py").write_text("app = 1\n")
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "fractalctl").write_text("#!python3\n")
    (info / "RECORD").write_text(
        f"fractal_server/main.py,sha256=x,8\n../../../bin/fractalctl,sha256=x,999\n{info.name}/RECORD,,\n"
    )
    return packages
