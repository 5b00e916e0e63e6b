//! Extract, call, render.
