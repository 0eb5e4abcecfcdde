from mnemos.activation.beacon.tiny.training import main

main()
