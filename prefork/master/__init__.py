"""The processes: the master that binds and supervises, the molds that load the application, the workers' own start.

``master.Master`` is what the command line runs.
"""
