//! One group, step by step. Part of `broker::groups::group`.
