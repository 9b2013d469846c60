//! Attention cells.
