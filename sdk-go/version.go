package analytics

// Version is the version of this module; it is sent as context.library.version.
const Version = "0.1.0"

// libraryName is sent as context.library.name.
const libraryName = "tidegate-go"
