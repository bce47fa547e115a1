//! Programs that must not compile, in `fail`, each with a twin that does, in `pass`.
