//! Administration over the wire: what tools ask, and Kafka's codes where it is refused. Part of the tests of `kafka`.

use kafka_protocol::messages as theirs;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

use crate::kafka::tests::double::MemoryBroker;
use crate::kafka::tests::{Client, batch, connect, fetch, produce, topic};

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// A log, its partitions afterwards, and the brokers of the new ones.
type Growth = (&'static str, i32, Option<Vec<Vec<i32>>>);

impl Client {
    async fn delete(&mut self, names: &[&'static str]) -> Vec<i16> {
        let names = names.iter().map(|name| topic(name)).collect();
        let body = theirs::DeleteTopicsRequest::default().with_topic_names(names);
        self.send(ApiKey::DeleteTopics, 5, 1, &body).await;
        let (_, response) = self.receive::<theirs::DeleteTopicsResponse>(5).await;
        response.responses.iter().map(|topic| topic.error_code).collect()
    }

    async fn grow(&mut self, counts: &[Growth]) -> Vec<i16> {
        use theirs::create_partitions_request::{
            CreatePartitionsAssignment, CreatePartitionsTopic,
        };
        let topics = counts.iter().map(|(name, count, assignments)| {
            let assignments = assignments.as_ref().map(|all| {
                let brokers = all.iter().map(|one| one.iter().map(|id| (*id).into()).collect());
                let one = |ids| CreatePartitionsAssignment::default().with_broker_ids(ids);
                brokers.map(one).collect()
            });
            CreatePartitionsTopic::default()
                .with_name(topic(name))
                .with_count(*count)
                .with_assignments(assignments)
        });
        let body = theirs::CreatePartitionsRequest::default().with_topics(topics.collect());
        self.send(ApiKey::CreatePartitions, 3, 1, &body).await;
        let (_, response) = self.receive::<theirs::CreatePartitionsResponse>(3).await;
        response.results.iter().map(|topic| topic.error_code).collect()
    }

    async fn configure(
        &mut self,
        resource: (i8, &'static str),
        changes: &[(&'static str, i8, Option<&'static str>)],
        validate_only: bool,
    ) -> i16 {
        use theirs::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let configs = changes.iter().map(|(name, operation, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource.0)
            .with_resource_name(text(resource.1))
            .with_configs(configs.collect());
        let body = theirs::IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate_only);
        self.send(ApiKey::IncrementalAlterConfigs, 1, 1, &body).await;
        let (_, response) = self.receive::<theirs::IncrementalAlterConfigsResponse>(1).await;
        response.responses[0].error_code
    }

    async fn describe(
        &mut self,
        resource: (i8, &'static str),
        keys: Option<&[&'static str]>,
    ) -> theirs::describe_configs_response::DescribeConfigsResult {
        let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
        let resource = theirs::describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(resource.0)
            .with_resource_name(text(resource.1))
            .with_configuration_keys(keys);
        let body = theirs::DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true);
        self.send(ApiKey::DescribeConfigs, 4, 1, &body).await;
        let (_, mut response) = self.receive::<theirs::DescribeConfigsResponse>(4).await;
        response.results.remove(0)
    }

    /// Name, value and source of one setting.
    async fn setting(&mut self, log: &'static str, name: &'static str) -> (String, i8) {
        let found = self.describe((2, log), Some(&[name])).await;
        assert_eq!((found.error_code, found.configs.len()), (0, 1));
        let value = found.configs[0].value.clone().unwrap();
        (value.to_string(), found.configs[0].config_source)
    }

    async fn cut(&mut self, log: &'static str, cuts: &[(i32, i64)]) -> Vec<(i16, i64)> {
        use theirs::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let partitions = cuts.iter().map(|(index, offset)| {
            DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset)
        });
        let topics = DeleteRecordsTopic::default()
            .with_name(topic(log))
            .with_partitions(partitions.collect());
        let body = theirs::DeleteRecordsRequest::default().with_topics(vec![topics]);
        self.send(ApiKey::DeleteRecords, 2, 1, &body).await;
        let (_, response) = self.receive::<theirs::DeleteRecordsResponse>(2).await;
        let partitions = response.topics[0].partitions.iter();
        partitions.map(|cut| (cut.error_code, cut.low_watermark)).collect()
    }
}

#[tokio::test]
async fn deleted_logs_are_gone_for_whoever_fetches_and_produces() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    assert_eq!(client.delete(&["t", "unknown", "twice", "twice"]).await, [0, 3, 42, 42]);
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 3);
    client.send(ApiKey::Produce, 8, 3, &produce("t", 1, batch(b"v"))).await;
    let (_, response) = client.receive::<theirs::ProduceResponse>(8).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 3);
    assert_eq!(client.metadata("t", true).await.topics[0].error_code, 0, "the name is free");
}

#[tokio::test]
async fn logs_are_deleted_by_id() {
    use theirs::delete_topics_request::DeleteTopicState;
    let mut client = connect(MemoryBroker::default());
    let uuid = client.metadata("t", true).await.topics[0].topic_id;
    client.metadata("u", true).await;
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(uuid);
    let by_name = DeleteTopicState::default().with_name(Some(topic("u")));
    let by_both = DeleteTopicState::default().with_name(Some(topic("v"))).with_topic_id(uuid);
    let unknown = DeleteTopicState::default()
        .with_name(None)
        .with_topic_id("00000000-0000-0000-0000-000000000009".parse().unwrap());
    let topics = vec![by_id, by_name, by_both, unknown];
    let body = theirs::DeleteTopicsRequest::default().with_topics(topics);
    client.send(ApiKey::DeleteTopics, 6, 1, &body).await;
    let (_, response) = client.receive::<theirs::DeleteTopicsResponse>(6).await;
    let codes: Vec<_> = response.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, 0, 42, 100]);
    assert_eq!(response.responses[0].name, Some(topic("t")));
    assert_eq!(response.responses[0].topic_id, uuid);
    assert_eq!(response.responses[3].name, None);
}

#[tokio::test]
async fn a_fetch_that_waits_is_answered_when_its_log_is_deleted() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).await;
    tokio::task::yield_now().await;
    client.broker.delete_now("t").await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 3);
}

#[tokio::test]
async fn logs_grow_and_never_shrink() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    assert_eq!(client.grow(&[("t", 1, None), ("u", 2, None)]).await, [37, 3]);
    assert_eq!(client.grow(&[("t", -5, None)]).await, [37]);
    assert_eq!(client.grow(&[("t", 2, None), ("t", 3, None)]).await, [42, 42]);
    assert_eq!(client.grow(&[("t", 3, Some(vec![vec![0]]))]).await, [39]);
    assert_eq!(client.grow(&[("t", 3, Some(vec![vec![0], vec![1]]))]).await, [39]);
    assert_eq!(client.grow(&[("t", 3, Some(vec![vec![0], vec![0]]))]).await, [0]);
    assert_eq!(client.metadata("t", false).await.topics[0].partitions.len(), 3);
    assert_eq!(client.grow(&[("t", 4, None)]).await, [0]);
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_told_with_their_source() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    let log = (2, "t");
    assert_eq!(client.setting("t", "retention.ms").await, ("604800000".to_owned(), 5));
    assert_eq!(client.configure(log, &[("retention.ms", 0, Some("5"))], true).await, 0);
    assert_eq!(client.setting("t", "retention.ms").await.1, 5, "only checked");
    assert_eq!(client.configure(log, &[("retention.ms", 0, Some("5"))], false).await, 0);
    assert_eq!(client.setting("t", "retention.ms").await, ("5".to_owned(), 1));
    let both = [("retention.ms", 1, None), ("segment.ms", 0, Some("7"))];
    assert_eq!(client.configure(log, &both, false).await, 0);
    assert_eq!(client.setting("t", "retention.ms").await, ("604800000".to_owned(), 5));
    assert_eq!(client.setting("t", "segment.ms").await, ("7".to_owned(), 1));
    for (change, code) in [
        (("segment.ms", 0, Some("0")), 40),
        (("cleanup.policy", 0, Some("compact")), 40),
        (("cleanup.policy", 2, Some("compact")), 40),
        (("retention.ms", 2, Some("1")), 40),
        (("no.such.thing", 0, Some("1")), 40),
        (("retention.ms", 0, None), 42),
        (("retention.ms", 9, Some("1")), 42),
    ] {
        assert_eq!(client.configure(log, &[change], false).await, code, "{change:?}");
    }
    let twice = [("retention.ms", 0, Some("1")), ("retention.ms", 1, None)];
    assert_eq!(client.configure(log, &twice, false).await, 42);
    assert_eq!(client.configure((2, "unknown"), &[], false).await, 3);
    let broker = client.configure((4, "0"), &[("log.retention.ms", 0, Some("1"))], false).await;
    assert_eq!(broker, 44);
    assert_eq!(client.configure((8, "0"), &[], false).await, 44);
    assert_eq!(client.configure((77, "0"), &[], false).await, 42);
}

#[tokio::test]
async fn the_older_request_replaces_all_settings() {
    use theirs::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.configure((2, "t"), &[("retention.ms", 0, Some("5"))], false).await;
    let config =
        AlterableConfig::default().with_name(text("segment.ms")).with_value(Some(text("8")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(vec![config]);
    let body = theirs::AlterConfigsRequest::default().with_resources(vec![resource]);
    client.send(ApiKey::AlterConfigs, 2, 1, &body).await;
    let (_, response) = client.receive::<theirs::AlterConfigsResponse>(2).await;
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(client.setting("t", "retention.ms").await.1, 5);
    assert_eq!(client.setting("t", "segment.ms").await, ("8".to_owned(), 1));
}

#[tokio::test]
async fn the_broker_tells_the_settings_that_tools_look_for() {
    let mut client = connect(MemoryBroker::default());
    let found = client.describe((4, "0"), None).await;
    let value = |name: &str| {
        let one = found.configs.iter().find(|config| *config.name == *name).expect(name);
        assert!(one.read_only);
        one.value.clone().unwrap().to_string()
    };
    assert_eq!(value("num.partitions"), "1");
    assert_eq!(value("auto.create.topics.enable"), "true");
    assert_eq!(value("log.retention.ms"), "604800000");
    assert_eq!(value("message.max.bytes"), "1048588");
    assert_eq!(value("default.replication.factor"), "1");
    assert!(client.describe((4, ""), None).await.configs.is_empty());
    assert_eq!(client.describe((4, "7"), None).await.error_code, 42);
    assert_eq!(client.describe((2, "unknown"), None).await.error_code, 3);
    assert_eq!(client.describe((2, "a/b"), None).await.error_code, 17);
    client.metadata("t", true).await;
    let all = client.describe((2, "t"), None).await.configs;
    let policy = all.iter().find(|config| *config.name == *"cleanup.policy").unwrap();
    assert_eq!((policy.config_type, policy.config_source), (7, 5));
    assert_eq!(&*policy.synonyms[0].name, "log.cleanup.policy");
    assert_eq!(policy.documentation, None);
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    for _ in 0..5 {
        client.broker.append_now("t", &batch(b"v"));
    }
    assert_eq!(client.cut("t", &[(0, 2), (1, 0), (-1, 0)]).await, [(0, 2), (3, -1), (3, -1)]);
    assert_eq!(client.cut("t", &[(0, 6)]).await, [(1, -1)]);
    assert_eq!(client.cut("t", &[(0, -2)]).await, [(1, -1)]);
    assert_eq!(client.cut("t", &[(0, 1)]).await, [(0, 2)], "never back");
    assert_eq!(client.cut("t", &[(0, -1)]).await, [(0, 5)]);
    assert_eq!(client.cut("unknown", &[(0, 0)]).await, [(3, -1)]);
    client.send(ApiKey::Fetch, 11, 2, &fetch("t", 0, 1)).await;
    let (_, response) = client.receive::<theirs::FetchResponse>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 1);
}

#[tokio::test]
async fn the_end_of_the_only_epoch_is_the_end_of_the_log() {
    use theirs::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let mut client = connect(MemoryBroker::default());
    client.metadata("t", true).await;
    client.broker.append_now("t", &batch(b"v"));
    let asked = |index, current, epoch| {
        OffsetForLeaderPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch)
    };
    let partitions =
        vec![asked(0, -1, 0), asked(0, 0, 0), asked(0, 1, 0), asked(0, 0, 5), asked(3, 0, 0)];
    let topics = OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(partitions);
    let body = theirs::OffsetForLeaderEpochRequest::default().with_topics(vec![topics]);
    client.send(ApiKey::OffsetForLeaderEpoch, 4, 1, &body).await;
    let (_, response) = client.receive::<theirs::OffsetForLeaderEpochResponse>(4).await;
    let ends = response.topics[0].partitions.iter();
    let ends: Vec<_> = ends.map(|e| (e.error_code, e.leader_epoch, e.end_offset)).collect();
    assert_eq!(ends, [(0, 0, 1), (0, 0, 1), (75, -1, -1), (0, -1, -1), (3, -1, -1)]);
}

#[tokio::test]
async fn the_cluster_is_one_broker() {
    let mut client = connect(MemoryBroker::default());
    let body = theirs::DescribeClusterRequest::default().with_endpoint_type(1);
    client.send(ApiKey::DescribeCluster, 1, 1, &body).await;
    let (_, response) = client.receive::<theirs::DescribeClusterResponse>(1).await;
    assert_eq!((response.error_code, response.brokers.len()), (0, 1));
    assert_eq!(&*response.brokers[0].host, "127.0.0.1");
    let body = body.with_endpoint_type(2);
    client.send(ApiKey::DescribeCluster, 1, 2, &body).await;
    let (_, response) = client.receive::<theirs::DescribeClusterResponse>(1).await;
    assert_eq!((response.error_code, response.brokers.len()), (114, 0));
}
