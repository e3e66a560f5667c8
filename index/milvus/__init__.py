"""Galleries on a Milvus server, where one machine is outgrown: any number of services share them and may die."""
