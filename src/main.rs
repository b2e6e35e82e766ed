//! The executable. All of it is in the library, so that it is compiled once.

use callvault::cli::main;
