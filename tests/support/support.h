// support.h: what every test program shares: temporary folders and private mount namespaces.
#pragma once
