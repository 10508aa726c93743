"""The subcommands, one short file each: parse options, call the library, print the result."""
