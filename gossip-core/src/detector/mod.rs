//! Phi accrual failure detection: how suspicious is this silence?

mod phi;
mod window;
