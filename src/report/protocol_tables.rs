//! The tables of any records, protocol by protocol.

use super::linear_tables::linear_tables;
use super::segmentation_tables::segmentation_tables;
use super::{Record, Table, curve_table, headline_table, layer_table};
use crate::spec::Kind;

/// Tables for people: records under one protocol on one dataset share theirs, in the order of the
/// first of each.
pub fn tables(records: &[Record]) -> Vec<Table> {
    let mut groups: Vec<Vec<Record>> = Vec::new();
    for record in records {
        let alike = |group: &&mut Vec<Record>| {
            group.first().is_some_and(|first| {
                first.protocol.hash == record.protocol.hash && first.data.root == record.data.root
            })
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(record.clone()),
            None => groups.push(vec![record.clone()]),
        }
    }
    let tables = |group: &Vec<Record>| match group.first().map(|first| first.protocol.kind) {
        Some(Kind::Knn) => vec![headline_table(group), curve_table(group)],
        Some(Kind::Linear | Kind::LinearCached | Kind::Finetune | Kind::Classify) => {
            linear_tables(group)
        }
        Some(Kind::Segment) => segmentation_tables(group),
        Some(Kind::Attention) => vec![layer_table(group)],
        None => Vec::new(),
    };
    groups.iter().flat_map(tables).collect()
}
