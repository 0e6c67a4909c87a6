//! The requests that administer logs, and DescribeCluster.

use kafka_protocol::messages as theirs;

use crate::kafka::codec::api::Api;
use crate::kafka::codec::messages::tests::{
    ID, ID_TEXT, Sample, responses, samples, some, text, topic,
};
use crate::kafka::codec::messages::{
    alter_configs, create_partitions, create_topics, delete_records, delete_topics,
    describe_cluster, describe_configs, incremental_alter_configs,
};

pub(super) fn all() -> Vec<Sample> {
    let of_each = [
        create_topics_samples(),
        delete_topics_samples(),
        create_partitions_samples(),
        delete_records_samples(),
        describe_configs_samples(),
        alter_configs_samples(),
        incremental_alter_configs_samples(),
        describe_cluster_samples(),
    ];
    of_each.into_iter().flatten().collect()
}

fn create_topics_samples() -> Vec<Sample> {
    use theirs::create_topics_request as ct;
    samples(Api::CreateTopics, |_| {
        let config = ct::CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(some("5"));
        let assignment = ct::CreatableReplicaAssignment::default()
            .with_partition_index(0)
            .with_broker_ids(vec![theirs::BrokerId(0)]);
        let asked = ct::CreatableTopic::default()
            .with_name(topic("t"))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
            .with_configs(vec![config]);
        theirs::CreateTopicsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(9)
            .with_validate_only(true)
    })
}

#[test]
fn create_topics_both_ways() {
    for sample in create_topics_samples() {
        let ours = create_topics::CreateTopicsRequest::decode(sample.reader()).unwrap();
        assert!(ours.validate_only);
        let first = &ours.topics[0];
        assert_eq!((first.name, first.partitions, first.replication_factor), ("t", -1, -1));
        assert_eq!(first.assignments[0].brokers, [0]);
        assert_eq!(first.configs, [("retention.ms", Some("5"))]);
    }
    let ours = [create_topics::TopicResult {
        name: "t".into(),
        id: ID,
        error_code: 36,
        error_message: Some("there".into()),
        partitions: 3,
        replication_factor: 1,
        configs: vec![create_topics::CreatedConfig {
            name: "retention.ms".into(),
            value: "5".into(),
            source: create_topics::SOURCE_TOPIC,
        }],
    }];
    let encode = |w: &mut _, v| create_topics::encode_response(w, v, &ours);
    for (version, read) in responses::<theirs::CreateTopicsResponse>(Api::CreateTopics, encode) {
        let first = &read.topics[0];
        assert_eq!((first.error_code, &first.error_message), (36, &some("there")));
        assert_eq!(first.num_partitions, if version >= 5 { 3 } else { -1 });
        if version >= 5 {
            let configs = first.configs.as_ref().unwrap();
            assert_eq!((&configs[0].value, configs[0].config_source), (&some("5"), 1));
        }
        let id = first.topic_id.into_bytes();
        assert_eq!(id, if version >= 7 { ID } else { [0; 16] });
    }
}

fn delete_topics_samples() -> Vec<Sample> {
    use theirs::delete_topics_request::DeleteTopicState;
    samples(Api::DeleteTopics, |version| {
        let body = theirs::DeleteTopicsRequest::default().with_timeout_ms(9);
        if version <= 5 {
            return body.with_topic_names(vec![topic("t"), topic("u")]);
        }
        let by_name = DeleteTopicState::default().with_name(Some(topic("t")));
        let by_id =
            DeleteTopicState::default().with_name(None).with_topic_id(ID_TEXT.parse().unwrap());
        body.with_topics(vec![by_name, by_id])
    })
}

#[test]
fn delete_topics_both_ways() {
    use delete_topics as ours;
    for sample in delete_topics_samples() {
        let read = ours::DeleteTopicsRequest::decode(sample.reader(), sample.version).unwrap();
        let by_name = |name| ours::DoomedTopic { name: Some(name), id: [0; 16] };
        let second = if sample.version <= 5 {
            by_name("u")
        } else {
            ours::DoomedTopic { name: None, id: ID }
        };
        assert_eq!((read.topics, read.timeout_ms), (vec![by_name("t"), second], 9));
    }
    let answer = [
        ours::TopicDeleted { name: Some("t".into()), id: ID, error_code: 0, error_message: None },
        ours::TopicDeleted {
            name: None,
            id: ID,
            error_code: 100,
            error_message: Some("unknown".into()),
        },
    ];
    let encode = |w: &mut _, v| ours::encode_response(w, v, &answer);
    for (version, read) in responses::<theirs::DeleteTopicsResponse>(Api::DeleteTopics, encode) {
        assert_eq!(read.responses[0].name, Some(topic("t")));
        let id = read.responses[0].topic_id.into_bytes();
        assert_eq!(id, if version >= 6 { ID } else { [0; 16] });
        let second = &read.responses[1];
        assert_eq!((second.error_code, second.name.is_none()), (100, version >= 6));
        assert_eq!(second.error_message.is_some(), version >= 5);
    }
}

fn create_partitions_samples() -> Vec<Sample> {
    use theirs::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    samples(Api::CreatePartitions, |_| {
        let grown = |name, assignments| {
            CreatePartitionsTopic::default()
                .with_name(topic(name))
                .with_count(6)
                .with_assignments(assignments)
        };
        let assignment =
            CreatePartitionsAssignment::default().with_broker_ids(vec![theirs::BrokerId(0)]);
        theirs::CreatePartitionsRequest::default()
            .with_topics(vec![grown("t", None), grown("u", Some(vec![assignment]))])
            .with_timeout_ms(9)
            .with_validate_only(true)
    })
}

#[test]
fn create_partitions_both_ways() {
    use create_partitions as ours;
    for sample in create_partitions_samples() {
        let read = ours::CreatePartitionsRequest::decode(sample.reader()).unwrap();
        let expected = [
            ours::GrownTopic { name: "t", count: 6, assignments: None },
            ours::GrownTopic { name: "u", count: 6, assignments: Some(vec![vec![0]]) },
        ];
        assert_eq!(read.topics, expected);
        assert_eq!((read.timeout_ms, read.validate_only), (9, true));
    }
    let answer =
        [ours::TopicGrown { name: "t".into(), error_code: 37, error_message: Some("no".into()) }];
    let encode = |w: &mut _, _| ours::encode_response(w, &answer);
    for (_, read) in responses::<theirs::CreatePartitionsResponse>(Api::CreatePartitions, encode) {
        let first = &read.results[0];
        assert_eq!((first.name.as_str(), first.error_code), ("t", 37));
        assert_eq!(first.error_message, some("no"));
    }
}

fn delete_records_samples() -> Vec<Sample> {
    use theirs::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    samples(Api::DeleteRecords, |_| {
        let cut = |index, offset| {
            DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
        };
        let asked = DeleteRecordsTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![cut(0, 1 << 40), cut(1, -1)]);
        theirs::DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(9)
    })
}

#[test]
fn delete_records_both_ways() {
    use delete_records as ours;
    for sample in delete_records_samples() {
        let read = ours::DeleteRecordsRequest::decode(sample.reader()).unwrap();
        let partitions = vec![(0, 1 << 40), (1, ours::TO_THE_END)];
        assert_eq!(read.topics, [ours::TopicCuts { name: "t", partitions }]);
        assert_eq!(read.timeout_ms, 9);
    }
    let cut = ours::PartitionCut { index: 1, low_watermark: 77, error_code: 1 };
    let answer = [ours::TopicCut { name: "t".into(), partitions: vec![cut] }];
    let encode = |w: &mut _, _| ours::encode_response(w, &answer);
    for (_, read) in responses::<theirs::DeleteRecordsResponse>(Api::DeleteRecords, encode) {
        let part = &read.topics[0].partitions[0];
        assert_eq!((part.partition_index, part.low_watermark, part.error_code), (1, 77, 1));
    }
}

fn describe_configs_samples() -> Vec<Sample> {
    use theirs::describe_configs_request::DescribeConfigsResource;
    samples(Api::DescribeConfigs, |version| {
        let resource = |kind, name, keys| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(keys)
        };
        let body = theirs::DescribeConfigsRequest::default()
            .with_resources(vec![
                resource(2, "t", None),
                resource(4, "0", Some(vec![text("retention.ms")])),
            ])
            .with_include_synonyms(true);
        if version >= 3 { body.with_include_documentation(true) } else { body }
    })
}

#[test]
fn describe_configs_both_ways() {
    use describe_configs as ours;
    for sample in describe_configs_samples() {
        let read = ours::DescribeConfigsRequest::decode(sample.reader(), sample.version).unwrap();
        let expected = [
            ours::Resource { resource_type: ours::RESOURCE_TOPIC, name: "t", keys: None },
            ours::Resource {
                resource_type: ours::RESOURCE_BROKER,
                name: "0",
                keys: Some(vec!["retention.ms"]),
            },
        ];
        assert_eq!(read.resources, expected);
        assert!(read.include_synonyms);
        assert_eq!(read.include_documentation, sample.version >= 3);
    }
    let config = ours::DescribedConfig {
        name: "retention.ms".into(),
        value: Some("5".into()),
        read_only: false,
        source: create_topics::SOURCE_TOPIC,
        sensitive: false,
        synonyms: vec![ours::Synonym {
            name: "log.retention.ms".into(),
            value: None,
            source: ours::SOURCE_BROKER,
        }],
        config_type: ours::ConfigType::Long,
        documentation: Some("how long".into()),
    };
    let answer = [ours::DescribedResource {
        error_code: 0,
        error_message: None,
        resource_type: ours::RESOURCE_TOPIC,
        name: "t".into(),
        configs: vec![config],
    }];
    let encode = |w: &mut _, v| ours::encode_response(w, v, &answer);
    for (version, read) in
        responses::<theirs::DescribeConfigsResponse>(Api::DescribeConfigs, encode)
    {
        let found = &read.results[0];
        assert_eq!((found.resource_type, found.resource_name.as_str()), (2, "t"));
        let config = &found.configs[0];
        assert_eq!((config.name.as_str(), &config.value), ("retention.ms", &some("5")));
        assert_eq!(
            (config.config_source, config.read_only, config.is_sensitive),
            (1, false, false)
        );
        let synonym = &config.synonyms[0];
        assert_eq!((synonym.name.as_str(), synonym.source), ("log.retention.ms", 4));
        assert_eq!(config.config_type, if version >= 3 { 5 } else { 0 });
        assert_eq!(config.documentation == some("how long"), version >= 3);
    }
}

fn alter_configs_samples() -> Vec<Sample> {
    use theirs::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    samples(Api::AlterConfigs, |_| {
        let config =
            |name, value| AlterableConfig::default().with_name(text(name)).with_value(value);
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config("retention.ms", some("5")), config("segment.ms", None)]);
        theirs::AlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(true)
    })
}

#[test]
fn alter_configs_both_ways() {
    use alter_configs as ours;
    for sample in alter_configs_samples() {
        let read = ours::AlterConfigsRequest::decode(sample.reader()).unwrap();
        let configs = vec![("retention.ms", Some("5")), ("segment.ms", None)];
        let expected = ours::ReplacedConfigs { resource_type: 2, name: "t", configs };
        assert_eq!((read.resources, read.validate_only), (vec![expected], true));
    }
    let answer = [ours::AlteredResource {
        error_code: 40,
        error_message: Some("no".into()),
        resource_type: 2,
        name: "t".into(),
    }];
    let encode = |w: &mut _, _| ours::encode_response(w, &answer);
    for (_, read) in responses::<theirs::AlterConfigsResponse>(Api::AlterConfigs, encode) {
        let first = &read.responses[0];
        assert_eq!((first.error_code, first.resource_type), (40, 2));
        assert_eq!((first.resource_name.as_str(), &first.error_message), ("t", &some("no")));
    }
    let read = responses::<theirs::IncrementalAlterConfigsResponse>(
        Api::IncrementalAlterConfigs,
        |w, _| ours::encode_response(w, &answer),
    );
    for (_, read) in read {
        let first = &read.responses[0];
        assert_eq!((first.error_code, first.resource_type), (40, 2));
        assert_eq!((first.resource_name.as_str(), &first.error_message), ("t", &some("no")));
    }
}

fn incremental_alter_configs_samples() -> Vec<Sample> {
    use theirs::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    samples(Api::IncrementalAlterConfigs, |_| {
        let change = |operation, value| {
            AlterableConfig::default()
                .with_name(text("retention.ms"))
                .with_config_operation(operation)
                .with_value(value)
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![change(0, some("5")), change(1, None), change(9, None)]);
        theirs::IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(true)
    })
}

#[test]
fn incremental_alter_configs_requests() {
    use incremental_alter_configs as ours;
    for sample in incremental_alter_configs_samples() {
        let read = ours::IncrementalAlterConfigsRequest::decode(sample.reader()).unwrap();
        assert!(read.validate_only);
        let first = &read.resources[0];
        assert_eq!((first.resource_type, first.name), (2, "t"));
        let changes: Vec<_> = first.changes.iter().map(|c| (c.operation(), c.value)).collect();
        let expected = [
            (Some(ours::Operation::Set), Some("5")),
            (Some(ours::Operation::Delete), None),
            (None, None),
        ];
        assert_eq!(changes, expected);
    }
}

fn describe_cluster_samples() -> Vec<Sample> {
    samples(Api::DescribeCluster, |version| {
        let mut body = theirs::DescribeClusterRequest::default()
            .with_include_cluster_authorized_operations(true);
        if version >= 1 {
            body.endpoint_type = 2;
        }
        if version >= 2 {
            body.include_fenced_brokers = true;
        }
        body
    })
}

#[test]
fn describe_cluster_both_ways() {
    use describe_cluster as ours;
    for sample in describe_cluster_samples() {
        let read = ours::DescribeClusterRequest::decode(sample.reader(), sample.version).unwrap();
        assert!(read.include_operations);
        assert_eq!(read.endpoint_type, if sample.version >= 1 { 2 } else { ours::ENDPOINT_BROKER });
    }
    let answer = ours::DescribeClusterResponse {
        error_code: 0,
        error_message: None,
        endpoint_type: ours::ENDPOINT_BROKER,
        cluster_id: "venice",
        node_id: 0,
        address: Some(("::1", 9092)),
        operations: 8,
    };
    let encode = |w: &mut _, v| answer.encode(w, v);
    for (_, read) in responses::<theirs::DescribeClusterResponse>(Api::DescribeCluster, encode) {
        assert_eq!((read.error_code, read.endpoint_type), (0, 1));
        assert_eq!((read.cluster_id.as_str(), read.controller_id.0), ("venice", 0));
        let broker = &read.brokers[0];
        assert_eq!((broker.host.as_str(), broker.port, broker.is_fenced), ("::1", 9092, false));
        assert_eq!(read.cluster_authorized_operations, 8);
    }
}
