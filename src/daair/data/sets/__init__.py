"""The known data sets, by kind; `daair.data.catalogue` puts them together."""
