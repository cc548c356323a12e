"""The throw-away cluster itself."""

from tests.fixtures.postgres import Cluster, ClusterFactory


def test_cluster_answers(postgres: Cluster) -> None:
    assert postgres.execute("select 6 * 7") == "42"


def test_two_clusters_side_by_side(make_cluster: ClusterFactory) -> None:
    first, second = make_cluster(wal_segment_size_mib=1), make_cluster(checksums=False)
    assert first.execute("show wal_segment_size") == "1MB"
    assert second.execute("show data_checksums") == "off"
    first.stop()
    assert not first.is_running()
    assert second.is_running()
