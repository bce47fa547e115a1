//! Programs in `fail` that must not compile, each with a twin in `pass` that does.
