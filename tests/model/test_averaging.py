"""The average of trainings: every number the mean, and nothing averaged that does not belong together."""

import pytest
import torch

from gtpt.core.errors import WeightsError
from gtpt.model import average, build, load, save


def written(path, value, **changes):
    net = build("gtpt-t", **changes)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(value)
    save(net, path)
    return path


def test_each_number_is_the_mean(tmp_path):
    files = [written(tmp_path / f"{value}.safetensors", value) for value in (1, 2, 6)]
    mean = average(files, tmp_path / "mean.safetensors")
    assert all((value == 3).all() for value in mean.state_dict().values() if value.is_floating_point())
    again = load(tmp_path / "mean.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in mean.state_dict().items())
    assert not mean.training


def test_the_average_of_one_with_itself_is_itself(tmp_path):
    save(build("gtpt-t"), tmp_path / "a.safetensors")
    one = load(tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(v, one[k]) for k, v in average([tmp_path / "a.safetensors"] * 2).state_dict().items())


@pytest.mark.parametrize(
    "changes", [{"input_size": (144, 192)}, {"skeleton": "coco_feet23"}, {"keep_rates": (1, 0.5, 0.2, 0.05)}]
)
def test_other_networks_are_refused_by_name(tmp_path, changes):
    files = [written(tmp_path / "a.safetensors", 1), written(tmp_path / "odd.safetensors", 1, **changes)]
    with pytest.raises(WeightsError, match=r"odd\.safetensors is another network"):
        average(files, tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()


def test_what_cannot_be_written_is_said_first(tmp_path):
    with pytest.raises(WeightsError, match="at least two"):
        average(["gtpt-t-coco17"])
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        average(["no.safetensors", "file.safetensors"], tmp_path / "mean.pth")
