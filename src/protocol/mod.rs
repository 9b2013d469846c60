//! Protocols: what is asked of the features, and what is answered.

pub mod attention;
pub mod classification;
pub mod knn;
pub mod linear;
pub mod linear_cached;
pub mod segmentation;
