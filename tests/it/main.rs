//! Integration tests, compiled once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and print why they are skipped"
)]

mod all;
mod architecture;
mod attention;
mod attention_statistics;
mod audit;
mod augment;
mod batches;
mod beginnings;
mod bench;
mod cards;
mod cifar;
mod classifier;
mod command_line;
mod compare;
mod conformance;
mod corpora;
mod curves;
mod dense;
mod dialects;
mod faults;
mod finetune;
mod finetune_plan;
mod finetune_presets;
mod finetuning;
mod fit;
mod goldens;
mod gradients;
#[cfg(feature = "hub")]
mod hub;
mod hub_configs;
mod images;
mod knn;
mod linear;
mod logistic;
mod losses;
mod masks;
mod miou;
mod mix;
mod mutation;
mod operations;
mod positions;
mod presets;
mod pretrain;
mod pretrain_kept;
mod pretrain_plan;
mod pretrain_recipes;
mod pretrain_sweep;
mod pretrained;
mod pretraining;
mod protocol;
mod report;
mod saving;
mod scenes;
mod schedules;
mod segment;
mod segment_presets;
mod segmentation_data;
mod segmentation_network;
mod segmentation_report;
mod sliding;
mod slopes;
mod sources;
mod sparse;
mod store;
mod support;
mod tables;
mod tensors;
mod training;
mod training_faults;
mod verify;
mod weights;
