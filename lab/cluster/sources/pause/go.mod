module sidecarlab.example/pause

go 1.26.0
