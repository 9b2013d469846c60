//! The program's memory allocator.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds until freed memory goes back to the system, -1 for never; `mi_option_purge_delay`
/// of mimalloc 2 (`include/mimalloc.h`), which the crate does not name. The variable
/// `MIMALLOC_PURGE_DELAY` goes before it.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed memory for the next operation. Every layer of a forward pass allocates what an
/// earlier one freed: without this the system takes the pages back in between and clears them
/// again, a quarter of the time of a ViT-Ti training step.
pub fn keep_memory() {
    // SAFETY: sets a number among mimalloc's options, which any thread may do at any time.
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    unsafe {
        mi_option_set_default(PURGE_DELAY, -1);
    }
}
