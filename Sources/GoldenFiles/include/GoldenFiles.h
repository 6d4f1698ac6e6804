// Where the build puts the golden files. A target in C, because one in Swift that has resources links all of Foundation.
#ifndef GOLDEN_FILES_H
#define GOLDEN_FILES_H

/// The folder of the golden files, below the one that the program lies in.
extern const char *const golden_folder;

#endif
