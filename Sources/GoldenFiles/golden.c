#include "include/GoldenFiles.h"

const char *const golden_folder = "densenet_GoldenFiles.resources/Golden";
